"""Pollux's engine in this process, no HTTP: beside programs that have no server either.

All that the benchmark knows of the engine's inside is here.
"""

import gc
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import measurement as m
from benchmarks.measurement import Measurement
from benchmarks.systems.products import Products
from benchmarks.workloads import Generate, Prefill, Workload
from model.checkpoints import open_checkpoint
from model.contract import Group, PathOutput, PathRequest, Prompt, SamplingParams, Submit
from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.pages import PagedMemory
from model.engine.runner import JaxRunner
from model.engine.scheduler import Scheduler
from model.text.language import TextModel

NAME = "Pollux, no server"


class InProcess:
    """options: of EngineConfig, by name; None and unknown names are left out."""

    name = NAME
    against: str | None = None

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        known = {field.name for field in fields(EngineConfig)}
        given = {k: v for k, v in options.items() if v is not None and k in known}
        self._config = EngineConfig(**given)
        self._path = path
        self._random = np.random.default_rng(0)
        self._engine: Engine | None = None
        self.runner: JaxRunner | None = None
        self.device = ""
        self.products: Products | None = None

    def start(self) -> float:
        began = time.perf_counter()
        checkpoint = open_checkpoint(self._path)
        spec = checkpoint.spec
        context = min(spec.context, self._config.context or spec.context)
        runner = JaxRunner(checkpoint, self._config, context)
        runner.warm_up()
        memory = PagedMemory.of(self._config.page_size, spec.windows, runner.memory.pages)
        memory.reuse = False
        scheduler = Scheduler(memory, runner.limits)
        text = TextModel(checkpoint.text)
        self._engine = Engine(scheduler, runner, text, spec.vocab_size, context)
        self._vocabulary = spec.vocab_size
        self.device = (
            f"{runner.choices.name}, {jax.devices()[0].device_kind}, jax {jax.__version__}"
        )
        self.products = Products(spec, runner.params)
        self.runner = runner
        return time.perf_counter() - began

    def supports(self, workload: Workload) -> bool:
        if isinstance(workload, Prefill):
            return True
        return isinstance(workload, Generate) and not workload.prompt_seen

    def prepare(self, workload: Workload) -> None:
        pass

    def run(self, workload: Workload) -> Measurement:
        if isinstance(workload, Prefill):
            seconds, _ = self._groups(1, 1, workload.prompt, 1)
            return Measurement({m.PREFILL_RATE: workload.prompt / seconds, m.SECONDS: seconds})
        assert isinstance(workload, Generate)
        seconds, all_began = self._groups(
            workload.requests, workload.paths, workload.prompt, workload.new
        )
        figures = {
            m.TOTAL_RATE: workload.rows * workload.new / seconds,
            m.SECONDS: seconds,
            m.FIRST_P99: 1e3 * all_began,
        }
        if workload.requests == 1:
            decode = seconds - all_began
            figures[m.DECODE_RATE] = workload.rows * (workload.new - 1) / decode
            figures[m.STEP_MS] = 1e3 * decode / (workload.new - 1)
        return Measurement(figures)

    def pids(self) -> list[int]:
        return []

    def stop(self) -> None:
        self._engine = self.runner = None
        self.products = None
        gc.collect()

    def _groups(self, count: int, paths: int, prompt: int, new: int) -> tuple[float, float]:
        """Seconds until all is done, and until every path had its first token."""
        engine = self._engine
        assert engine is not None
        for index in range(count):
            tokens = self._random.integers(10, self._vocabulary - 1, prompt).tolist()
            requests = tuple(
                PathRequest(
                    index=i,
                    sampling=SamplingParams(
                        max_tokens=new, temperature=0.8, seed=i, ignore_eos=True
                    ),
                )
                for i in range(paths)
            )
            group = Group(id=str(index), prompt=Prompt.of_tokens(tokens), paths=requests)
            engine.handle(Submit(group=group))
        began: set[tuple[str, int]] = set()
        all_began = 0.0
        start = time.perf_counter()
        while engine.has_work:
            engine.step()
            for event in engine.take_events():
                if len(began) < count * paths and isinstance(event, PathOutput):
                    began.add((event.group_id, event.path))
                    all_began = time.perf_counter() - start
        return time.perf_counter() - start, all_began
