"""hf:owner/name references, through huggingface_hub: its cache, token, endpoint and offline mode
apply (HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE)."""

import re
from dataclasses import dataclass
from pathlib import Path

from model.checkpoints.errors import FetchFailed, UnknownModel
from model.checkpoints.values import short

PREFIX = "hf:"
_FORM = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[\w ./+-]+\.gguf))?"
)
# What a folder checkpoint consists of; repositories hold much else, in other formats.
_FOLDER_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


@dataclass(frozen=True)
class Reference:
    """file: a GGUF file of the repository; without one, the repository is a folder checkpoint."""

    repo: str
    revision: str | None = None
    file: str | None = None

    @property
    def served_name(self) -> str:
        if self.file is not None:
            return Path(self.file).name.removesuffix(".gguf")
        return self.repo.partition("/")[2]


def parse(name: str) -> Reference:
    """Raises UnknownModel when it has not the form hf:owner/name[@revision][:file.gguf]."""
    match = _FORM.fullmatch(name)
    if match is None:
        raise UnknownModel(f"{short(name)} is not of the form hf:owner/name[@revision][:file.gguf]")
    return Reference(match["repo"], match["revision"], match["file"])


def fetch(reference: Reference) -> Path:
    """A folder or a file in huggingface_hub's cache. Raises FetchFailed."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        found = _download(reference)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise FetchFailed(f"{PREFIX}{reference.repo}: {_told(error, reference)}") from None
    if reference.file is None and not (found / "config.json").is_file():
        raise FetchFailed(
            f"{PREFIX}{reference.repo} has no config.json; "
            f"for a GGUF file name it: {PREFIX}{reference.repo}:file.gguf"
        )
    return found


def _download(reference: Reference) -> Path:
    # Here, because importing it takes as long as everything else at a start.
    from huggingface_hub import hf_hub_download, snapshot_download

    if reference.file is not None:
        return Path(hf_hub_download(reference.repo, reference.file, revision=reference.revision))
    return Path(
        snapshot_download(
            reference.repo, revision=reference.revision, allow_patterns=list(_FOLDER_FILES)
        )
    )


def _told(error: Exception, reference: Reference) -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # From the special to the general: some of these derive from others.
    if isinstance(error, LocalEntryNotFoundError):
        return "not in the local cache, and the hub is out of reach or switched off"
    if isinstance(error, GatedRepoError):
        return "the hub asks for access to be granted first, and for HF_TOKEN to be set"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such repository, or it is private and HF_TOKEN is not set"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no revision {reference.revision}"
    if isinstance(error, EntryNotFoundError):
        return f"the repository has no file {reference.file}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
