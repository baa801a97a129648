"""Text assets out of a Hugging Face folder.

tokenizer.json is used when there is one, else tokenizer.model (SentencePiece). Ids and flags come
from there and from tokenizer_config.json, special_tokens_map.json, generation_config.json and
config.json; the template from chat_template.jinja, chat_template.json or tokenizer_config.json.
"""

import json
from pathlib import Path
from typing import Any

from model.text.assets import TextAssets
from model.text.hf_bpe import TokenizerFile, read_tokenizer_json
from model.text.hf_sentencepiece import read_tokenizer_model
from model.text.special import Special, end_ids
from model.text.tokenizer import DamagedTokenizer

_MAX_CONFIG_BYTES = 16 * 1024 * 1024
_MAX_TOKENIZER_BYTES = 256 * 1024 * 1024


def assets_from_folder(path: Path) -> TextAssets:
    """Raises DamagedTokenizer when files are missing or contradict themselves, UnsupportedModel
    for a kind of tokenizer that Pollux does not have."""
    config = _json(path / "tokenizer_config.json")
    named = {**_json(path / "special_tokens_map.json"), **config}
    names = {
        name: spelled
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if (spelled := _spelling(named.get(name))) is not None
    }
    listed = named.get("extra_special_tokens", named.get("additional_special_tokens"))
    extra = {spelled for item in _items(listed) if (spelled := _spelling(item))}
    ends = _configured_eos(path)
    read = _read_tokenizer(path, config, Special({*names.values(), *extra}, set(ends)))
    if unknown := [token for token in ends if not 0 <= token < read.vocab_size]:
        raise DamagedTokenizer(f"eos_token_id {unknown[0]} is not a token of the vocabulary")
    ids = {name: read.control.get(spelled) for name, spelled in names.items()}
    bos = ids.get("bos_token", read.bos)
    add_bos = config.get("add_bos_token")
    return TextAssets(
        kind=read.kind,
        payload=read.payload,
        vocab_size=read.vocab_size,
        control=read.control,
        eos=end_ids(read.control, (ids.get("eos_token"), *ends)),
        bos=bos,
        pad=ids.get("pad_token"),
        add_bos=bos is not None and (add_bos if isinstance(add_bos, bool) else read.adds_bos),
        chat_template=_chat_template(path, config),
    )


def _read_tokenizer(path: Path, config: dict[str, Any], special: Special) -> TokenizerFile:
    file = path / "tokenizer.json"
    if file.is_file():
        return read_tokenizer_json(_bytes(file, _MAX_TOKENIZER_BYTES), special)
    file = path / "tokenizer.model"
    if file.is_file():
        return read_tokenizer_model(_bytes(file, _MAX_TOKENIZER_BYTES), config, special)
    raise DamagedTokenizer(f"{path.name} has neither tokenizer.json nor tokenizer.model")


def _configured_eos(path: Path) -> list[int]:
    """generation_config.json says what ends a generation; config.json where that is silent."""
    for name in ("generation_config.json", "config.json"):
        declared = _json(path / name).get("eos_token_id")
        ids = declared if isinstance(declared, list) else [declared]
        if found := [token for token in ids if isinstance(token, int)]:
            return found
    return []


def _chat_template(path: Path, config: dict[str, Any]) -> str | None:
    file = path / "chat_template.jinja"
    if file.is_file():
        return _text(file)
    template = _json(path / "chat_template.json").get("chat_template", config.get("chat_template"))
    if isinstance(template, list):  # several by name
        by_name = {item.get("name"): item.get("template") for item in template}
        template = by_name.get("default", next(iter(by_name.values()), None))
    return template if isinstance(template, str) and template else None


def _spelling(token: Any) -> str | None:
    """A token is written as its text, or as an object that has it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None


def _items(listed: Any) -> list[Any]:
    if isinstance(listed, dict):
        return list(listed.values())
    return listed if isinstance(listed, list) else []


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(_text(file))
    except ValueError as error:
        raise DamagedTokenizer(f"{file.name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise DamagedTokenizer(f"{file.name} is not a JSON object")
    return content


def _text(file: Path) -> str:
    try:
        return _bytes(file, _MAX_CONFIG_BYTES).decode()
    except UnicodeDecodeError:
        raise DamagedTokenizer(f"{file.name} is not UTF-8") from None


def _bytes(file: Path, limit: int) -> bytes:
    if file.stat().st_size > limit:
        raise DamagedTokenizer(f"{file.name} exceeds {limit} bytes")
    return file.read_bytes()
