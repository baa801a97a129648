"""All settings of the gateway in one place: `POLLUX_*` variables, or flags of `pollux`."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.media.limits import MAX_PIXELS
from routing.policy import RoutingPolicy
from service.guard.origins import parse_origins
from service.media.addresses import Allowlist

DEFAULT_MODEL = "smollm2-135m-instruct"

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?")

Positive = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """Read once at start and passed on; nothing else reads the environment.

    Sizes are in bytes, times in seconds. Limits are checked before anything is computed.
    """

    model_config = SettingsConfigDict(env_prefix="POLLUX_", frozen=True, extra="forbid")

    model: str = Field(
        DEFAULT_MODEL, description="catalogue name, GGUF file, folder or hf:owner/name"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = Field(
        "text", description="of all that is logged: for people, or one JSON object on each line"
    )
    log_prompts: bool = Field(
        False, description="what is asked and answered is logged, up to 4096 characters of each"
    )
    redis: str | None = Field(None, description="URL of Redis or Valkey; workers are elsewhere")

    api_keys: SecretStr | None = Field(
        None, description="keys that are let in: `key` or `name=key`, separated by commas"
    )
    api_keys_file: Path | None = Field(
        None, description="file of hashes of keys with their limits, as `pollux keys new` makes it"
    )
    api_key: SecretStr | None = Field(None, description="the key that `pollux ask` sends")
    allow_open: bool = Field(
        False, description="listen beyond this machine although no keys are asked for"
    )
    metrics_need_key: bool = Field(False, description="`/metrics` asks for a key as well")
    cors_origins: str = Field(
        "", description="web origins that may use the server from a browser, by commas; or *"
    )
    tls_cert: Path | None = Field(None, description="certificate chain (PEM): serve HTTPS")
    tls_key: Path | None = Field(None, description="the certificate's private key (PEM)")
    tls_self_signed: bool = Field(
        False, description="serve HTTPS for localhost with a certificate made here"
    )

    dtype: Literal["auto", "bfloat16", "float32"] = Field("auto", description="of weights and KV")
    kernels: Literal["auto", "off"] = Field(
        "auto", description="auto: compile CPU kernels with the machine's C++ compiler"
    )
    weights: Literal["auto", "native", "int8", "int4"] = Field(
        "auto",
        description="auto: quantised files stay quantised where that is faster; native: in dtype",
    )
    kv: Literal["auto", "int8"] = Field(
        "auto", description="how keys and values are kept: in dtype, or in bytes"
    )
    max_rows: int | None = Field(None, ge=1, le=1024, description="paths that decode together")
    context: int | None = Field(None, ge=2, description="longest prompt plus answer, in tokens")
    kv_memory: ByteSize | None = Field(None, description="of the device, for KV pages: 2GiB")
    tensor_parallel: int = Field(1, ge=1, description="devices over which each layer is cut")
    prefix_cache: bool = Field(
        True, description="KV pages of one request serve others that begin alike"
    )
    cache_scope: Literal["server", "key"] = Field(
        "server", description="who shares KV pages: all, or only requests of one API key"
    )
    held_share: float = Field(
        0.5, ge=0, le=1, description="of the KV pages, most that held prompt prefixes may take"
    )
    media_cache: ByteSize = Field(
        ByteSize(128 * 1024**2), ge=0, description="of the device, for images that were encoded"
    )
    max_holds: int = Field(
        128, ge=0, le=4096, description="most prompt prefixes held at once; more get 429"
    )
    prefill_chunk: int = Field(256, ge=16, le=8192, description="most prompt tokens of one step")
    busy_chunk: int | None = Field(
        None, ge=16, le=8192, description="the same in a step in which paths decode too"
    )
    cache: Path | None = Field(None, description="folder for models and compiled programs")

    files_dir: Path | None = Field(
        None, description="folder for uploaded files, which then outlive the server; else temporary"
    )
    public_url: str | None = Field(
        None, description="this server's address as its clients know it, for upload addresses"
    )
    max_file_bytes: ByteSize = Field(
        ByteSize(512 * 1024**2), gt=0, description="largest uploaded file"
    )
    max_files_bytes: ByteSize = Field(
        ByteSize(8 * 1024**3), gt=0, description="all uploaded files together"
    )
    max_key_files_bytes: ByteSize = Field(
        ByteSize(4 * 1024**3), gt=0, description="uploaded files of one key together"
    )
    max_files: Positive = Field(10_000, description="uploaded files that are kept")
    max_key_files: Positive = Field(1_000, description="uploaded files that are kept for one key")
    file_lifetime: float = Field(
        48 * 3600.0, ge=60, le=30 * 86400, description="an uploaded file is deleted after so long"
    )

    max_media_bytes: ByteSize = Field(
        ByteSize(32 * 1024**2), gt=0, le=1024**3, description="largest image, sound or video"
    )
    max_request_media_bytes: ByteSize = Field(
        ByteSize(64 * 1024**2), gt=0, description="images, sounds and videos of a request together"
    )
    max_media_items: int = Field(
        64, ge=1, le=1024, description="most images, sounds and videos of a request"
    )
    max_image_pixels: int = Field(
        50_000_000, ge=1, le=MAX_PIXELS, description="largest image or video frame, in pixels"
    )
    max_media_seconds: float = Field(600.0, gt=0, le=7200, description="longest sound or video")
    max_video_frames: int = Field(
        32, ge=1, le=512, description="most frames that are taken from a video"
    )
    decode_workers: int = Field(
        2, ge=1, le=64, description="processes that decode media; started when they are needed"
    )
    decode_timeout: float = Field(
        20.0, gt=0, le=600, description="longest decoding of an image, sound or video"
    )
    decode_memory: ByteSize = Field(
        ByteSize(1024**3), ge=64 * 1024**2, description="of a decoding process, beyond its code"
    )
    media_urls: str = Field(
        "",
        description="hosts that media is fetched from, by commas: `example.org`, "
        "`*.example.org`, or `*` for all public ones; nothing is fetched without",
    )
    media_url_timeout: float = Field(
        10.0, gt=0, le=120, description="longest fetch of a media address"
    )

    max_caches: Positive = Field(64, description="cached contents that are kept (Gemini)")
    max_cache_lifetime: float = Field(
        86400.0, ge=60, le=30 * 86400, description="longest ttl of a cached content"
    )

    default_max_tokens: Positive = Field(
        4096, description="longest answer when a request names none; never beyond the context"
    )
    max_body_bytes: Positive = Field(4 * 1024 * 1024, description="largest request body")
    body_timeout: float = Field(
        30.0, gt=0, description="a request whose body is not there after so long gets 408"
    )
    write_timeout: float = Field(
        60.0, gt=0, description="a client that does not read its answer for so long is cut"
    )
    keep_alive_timeout: int = Field(
        5, ge=1, description="a connection without a request is closed after so long"
    )
    max_connections: Positive = Field(
        768, description="connections at once; more get 503. Below the descriptors of the process"
    )
    max_messages: Positive = Field(512, description="most messages of one conversation")
    max_prompts: Positive = Field(256, description="most prompts of one completions request")
    max_inputs: Positive = Field(2048, description="most inputs of one embeddings request")
    max_choices: int = Field(32, ge=1, le=256, description="largest n or candidateCount")
    max_samples: int = Field(64, ge=1, le=64, description="largest k of a routed question")
    max_requests: Positive = Field(256, description="requests served at once; more get 429")
    max_paths: Positive = Field(4096, description="paths in flight over all requests; more get 429")
    request_timeout: float = Field(600.0, gt=0, description="longest life of a request")
    shutdown_grace: float = Field(20.0, ge=0, description="time for running requests on SIGTERM")
    socket_first_message_timeout: float = Field(
        30.0, gt=0, description="a WebSocket that asks nothing for so long is closed"
    )

    max_sessions: Positive = Field(2000, description="conversations open at once; more are refused")
    session_idle_timeout: float = Field(
        600.0, gt=0, description="a session that is silent for so long is closed"
    )
    session_lifetime: float = Field(3600.0, gt=0, description="longest life of a session")
    session_max_turns: Positive = Field(256, description="most answers of one session")
    session_max_bytes: ByteSize = Field(
        ByteSize(1024 * 1024), gt=0, description="most that the conversation of a session may take"
    )
    session_messages_per_minute: Positive = Field(
        6000, description="a session whose client sends more is closed"
    )
    session_write_timeout: float = Field(
        20.0, gt=0, description="a session whose client takes nothing for so long is ended"
    )
    session_hold_seconds: float = Field(
        60.0, ge=0, description="how long a worker keeps a silent session's pages; 0 keeps none"
    )
    session_resume_seconds: float = Field(
        600.0, ge=0, description="how long a session that was left can be taken up again"
    )

    routed_direct_tokens: Positive = Field(
        256, description="longest direct answer of a routed question that names no limit"
    )
    routed_path_tokens: Positive = Field(
        1024, description="longest path of a routed question that names no limit"
    )
    routed_k: int = Field(16, ge=1, le=64, description="k of the :routed alias")
    routed_tau: float = Field(0.6, ge=0, le=1, description="tau of the :routed alias")
    effort_routing: bool = Field(
        False,
        description="reasoning_effort and thinkingConfig poll paths by the plain model name, too",
    )
    routed_answer: str = Field("auto", description="answer kind of the :routed alias")

    calibration: Path | None = Field(
        None, description="calibration.json of `pollux calibrate`; refused when it fits no more"
    )
    shadow_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="with a calibration: share of routed questions polled in full again, for drift",
    )

    def alias_policy(self, asked: RoutingPolicy | None = None) -> RoutingPolicy:
        """What the `:routed` alias means, but for what the request itself says."""
        policy: dict[str, object] = {
            "k": self.routed_k,
            "tau": self.routed_tau,
            "answer": self.routed_answer,
        }
        explicit = {} if asked is None else asked.model_dump(exclude_unset=True, by_alias=True)
        if "min_votes" in explicit:
            del policy["tau"]
        if asked is not None and asked.tau is not None:
            explicit["tau"] = asked.tau  # as it is: 2/3 is no decimal
        return RoutingPolicy.model_validate({**policy, **explicit})

    @property
    def origins(self) -> tuple[str, ...]:
        return parse_origins(self.cors_origins)

    @property
    def asks_for_keys(self) -> bool:
        """A list of nothing but commas and blanks, as an empty variable makes it, has no keys."""
        listed = self.api_keys.get_secret_value() if self.api_keys else ""
        return self.api_keys_file is not None or bool(listed.replace(",", "").strip())

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        parse_origins(value)
        return value

    @field_validator("media_urls")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        Allowlist(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and _ADDRESS.fullmatch(value) is None:
            raise ValueError("must be an address such as https://example.org or one with a path")
        return None if value is None else value.rstrip("/")

    @field_validator("routed_answer")
    @classmethod
    def _is_an_answer_kind(cls, value: str) -> str:
        try:
            RoutingPolicy.model_validate({"answer": value})
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None
        return value
