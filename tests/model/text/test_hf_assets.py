import json
from pathlib import Path
from typing import Any

import pytest

from model.spec import UnsupportedModel
from model.text.hf_assets import assets_from_folder
from model.text.language import TextModel
from model.text.tokenizer import DamagedTokenizer
from tests.model.text.conftest import FIXTURES, read_json


def update(file: Path, **changes: Any) -> None:
    content = read_json(file) if file.exists() else {}
    file.write_text(json.dumps(content | changes))


def test_the_template_file_comes_before_the_configuration(folder: Path) -> None:
    update(folder / "tokenizer_config.json", chat_template="from the configuration")
    update(folder / "chat_template.json", chat_template="from json")
    assert "<|im_start|>" in (assets_from_folder(folder).chat_template or "")

    (folder / "chat_template.jinja").unlink()
    assert assets_from_folder(folder).chat_template == "from json"

    (folder / "chat_template.json").unlink()
    assert assets_from_folder(folder).chat_template == "from the configuration"


def test_of_several_templates_the_default_is_taken(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "chat"}]
    update(folder / "tokenizer_config.json", chat_template=named)

    assert assets_from_folder(folder).chat_template == "chat"


def test_a_folder_without_a_template_is_a_base_model(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()

    assert not TextModel(assets_from_folder(folder)).has_chat_template


def test_ends_come_from_the_generation_configuration_then_from_the_model(folder: Path) -> None:
    update(folder / "generation_config.json", eos_token_id=421)
    assert assets_from_folder(folder).eos == (422, 421, 420)

    (folder / "generation_config.json").unlink()
    update(folder / "config.json", eos_token_id=[420])
    assert assets_from_folder(folder).eos == (422, 420)


def test_an_end_outside_the_vocabulary_is_damaged(folder: Path) -> None:
    update(folder / "generation_config.json", eos_token_id=5000)

    with pytest.raises(DamagedTokenizer, match="eos_token_id 5000"):
        assets_from_folder(folder)


def test_tokens_named_special_anywhere_are_control(folder: Path) -> None:
    """An added token that the file does not call special, but the configuration does."""
    description = read_json(folder / "tokenizer.json")
    for token in description["added_tokens"]:
        token["special"] = False
    (folder / "tokenizer.json").write_text(json.dumps(description))
    update(folder / "generation_config.json", eos_token_id=423)

    model = TextModel(assets_from_folder(folder))

    assert set(model.assets.control.values()) == {420, 421, 422, 423}
    hostile = "<|im_end|><|endoftext|><|im_start|><tool_call>"
    assert max(model.tokenizer.encode(hostile)) < 420


def test_tokens_in_special_tokens_map_are_objects_or_texts(folder: Path) -> None:
    config = read_json(folder / "tokenizer_config.json")
    del config["eos_token"], config["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    update(
        folder / "special_tokens_map.json",
        bos_token={"content": "<|im_start|>", "lstrip": False},
        additional_special_tokens=["<tool_call>"],
    )

    assets = assets_from_folder(folder)

    assert assets.bos == 421
    assert assets.pad is None
    assert "<tool_call>" in assets.control


def test_a_post_processor_that_begins_the_text_is_heeded(folder: Path) -> None:
    description = read_json(folder / "tokenizer.json")
    description["post_processor"] = {
        "type": "Sequence",
        "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
            {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [],
                "special_tokens": {},
            },
        ],
    }
    (folder / "tokenizer.json").write_text(json.dumps(description))

    model = TextModel(assets_from_folder(folder))

    assert model.encode_text("the") == (421, *model.tokenizer.encode("the"))

    update(folder / "tokenizer_config.json", add_bos_token=False)
    assert not assets_from_folder(folder).add_bos


def test_merges_are_read_in_both_notations(folder: Path) -> None:
    before = TextModel(assets_from_folder(folder)).tokenizer.encode("the answer")
    description = read_json(folder / "tokenizer.json")
    merges = description["model"]["merges"]
    description["model"]["merges"] = [" ".join(merge) for merge in merges]
    (folder / "tokenizer.json").write_text(json.dumps(description))

    assert TextModel(assets_from_folder(folder)).tokenizer.encode("the answer") == before


def test_unigram_is_not_supported(folder: Path) -> None:
    update(folder / "tokenizer.json", model={"type": "Unigram", "vocab": []})

    with pytest.raises(UnsupportedModel, match="'Unigram'"):
        assets_from_folder(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": [], "merges": []}}'),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {}, "merges": []}}'),
        ("tokenizer_config.json", "nonsense"),
        ("tokenizer_config.json", "[]"),
        ("generation_config.json", "\x00"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)

    with pytest.raises(DamagedTokenizer, match=name) as caught:
        assets_from_folder(folder)

    assert "\n" not in str(caught.value)


def test_a_folder_without_tokenizer_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(DamagedTokenizer, match=r"neither tokenizer\.json nor tokenizer\.model"):
        assets_from_folder(tmp_path)


def test_tokens_added_to_a_sentencepiece_model_are_control_or_text(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((FIXTURES / "llama2/tokenizer.model").read_bytes())
    added = {
        "470": {"content": "<|im_end|>", "special": False},
        "472": {"content": "<think>", "special": False},
        "473": {"content": "<|secret|>", "special": True},
    }
    update(tmp_path / "tokenizer_config.json", added_tokens_decoder=added, eos_token="</s>")

    model = TextModel(assets_from_folder(tmp_path))

    assert model.assets.vocab_size == 474
    assert model.eos == (2, 470)
    assert 472 in model.tokenizer.encode("a<think>")
    assert not {470, 473} & set(model.tokenizer.encode("<|im_end|><|secret|>"))
    assert model.tokenizer.token_bytes(471) == b""


@pytest.mark.parametrize("added", [{"x": {}}, {"1": {}}, {"-1": {"content": "a"}}, [1], {"1": 5}])
def test_damaged_added_tokens_are_refused(tmp_path: Path, added: Any) -> None:
    (tmp_path / "tokenizer.model").write_bytes((FIXTURES / "llama2/tokenizer.model").read_bytes())
    update(tmp_path / "tokenizer_config.json", added_tokens_decoder=added)

    with pytest.raises(DamagedTokenizer, match="added_tokens_decoder"):
        assets_from_folder(tmp_path)


def test_an_added_token_far_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((FIXTURES / "llama2/tokenizer.model").read_bytes())
    update(tmp_path / "tokenizer_config.json", added_tokens_decoder={"9999999": {"content": "a"}})

    with pytest.raises(DamagedTokenizer, match="id 9999999"):
        assets_from_folder(tmp_path)


def test_a_control_token_spelled_like_a_word_is_not_that_word(folder: Path) -> None:
    """Vocabularies that take whole words before merging would match it."""
    description = read_json(folder / "tokenizer.json")
    description["added_tokens"][0]["content"] = "zqpad"
    description["model"]["ignore_merges"] = True
    description["model"]["vocab"]["zqpad"] = 420
    (folder / "tokenizer.json").write_text(json.dumps(description))
    update(folder / "tokenizer_config.json", pad_token="zqpad")

    model = TextModel(assets_from_folder(folder))

    assert model.assets.control["zqpad"] == 420
    assert 420 not in model.tokenizer.encode("zqpad")
    assert model.tokenizer.decode(model.tokenizer.encode("zqpad")) == "zqpad"
