"""Makes tests/fixtures/text: tiny tokenizers, trained by the libraries themselves, with the ids
that sentencepiece and transformers give. Run it with the `parity` extra installed:

    python scripts/make_tokenizer_fixtures.py

Each folder holds the files of a Hugging Face folder, `gguf.json` (the same vocabulary as GGUF
metadata) and `expected.json`.
"""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import GemmaTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

TARGET = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "text"

CORPUS = [
    "The train leaves at three and arrives at seven, so the trip takes four hours.",
    "Question: how many apples are left when five of twelve apples are eaten? Answer: seven.",
    "A conversation between a user and a helpful assistant, turn after turn.",
    "def area(width, height):\n    return width * height\n\n\nprint(area(3, 4))\n",
    "Der Zug fährt um drei Uhr ab und kommt um sieben Uhr an.",
    "Le café est déjà fermé; revenez à huit heures.",
    "Поезд отправляется в три часа и прибывает в семь.",
    "電車は三時に出発して七時に着きます。",
    "In the end the answer is the one that most of the paths agree on, and that is the answer.",
]
TEXTS = [
    "The answer is seven.",
    "  two   spaces,\ttabs\n\nand\r\n\r\nlines  ",
    "def f(x):\n    return x ** 2  # square\n",
    "fährt Café поезд 電車 🚂👩‍👩‍👧 é",
    "1234567890 3.14 ½ ٣",
    "I'm sure THEY'VE don't",
    "<tool_call>{}</tool_call> and <b>bold</b>",
    " " * 19 + "x" + "\n" * 9,
    "",
]
CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "How long is the trip?"}],
    [
        {"role": "user", "content": "  padded  \n"},
        {"role": "assistant", "content": " four hours "},
        {"role": "user", "content": "été\n\n```python\nprint(3)\n```"},
    ],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a < b and b > c | d ... 電車"},
        {"role": "assistant", "content": "<|"},
        {"role": "user", "content": "|> end"},
    ],
]
OPEN = {"role": "assistant", "content": " The answer is "}

GEMMA_IDS = {
    "pad_id": 0,
    "eos_id": 1,
    "bos_id": 2,
    "unk_id": 3,
    "eos_piece": "<eos>",
    "bos_piece": "<bos>",
}

CHATML = (
    "{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
TURNS = (
    "{{ bos_token }}\n"
    "{%- set intro = '' %}\n"
    "{%- if messages[0].role == 'system' %}\n"
    "    {%- set intro = messages[0].content + '\\n\\n' %}\n"
    "    {%- set messages = messages[1:] %}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}\n"
    "        {{- raise_exception('roles must alternate between user and assistant') }}\n"
    "    {%- endif %}\n"
    "    {%- set role = 'model' if message.role == 'assistant' else message.role %}\n"
    "    {{- '<start_of_turn>' + role + '\\n' + (intro if loop.first else '') }}\n"
    "    {{- message.content | trim + '<end_of_turn>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{%- endif %}"
)
INSTRUCT = (
    "{%- for message in messages %}\n"
    "    {%- if message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}\n"
    "    {%- else %}{{ bos_token + '[INST] ' + message.content + ' [/INST]' }}{%- endif %}\n"
    "{%- endfor %}"
)


def byte_level(folder: Path) -> None:
    """As Qwen has it: NFC, the ChatML control tokens, and a user-defined token that is not one."""
    contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    split = (
        contractions + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False)])
    oracle = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML,
    )
    save(oracle, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [422, 420]}))
    kinds = {"<|endoftext|>": 3, "<|im_start|>": 3, "<|im_end|>": 3, "<tool_call>": 4}
    by_id = {token: piece for piece, token in tokenizer.get_vocab().items()}
    tokens = [by_id[token] for token in range(len(by_id))] + ["[PAD424]"]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    write_gguf(
        folder,
        model="gpt2",
        pre="qwen2",
        tokens=tokens,
        token_type=[kinds.get(piece, 1) for piece in tokens[:-1]] + [5],
        merges=[" ".join(merge) for merge in merges],
        eos_token_id=422,
        padding_token_id=420,
        add_bos_token=False,
        chat_template=CHATML,
    )
    write_expected(folder, oracle, lambda text: oracle.encode(text, add_special_tokens=False))


def sentencepiece(folder: Path, *, dummy_prefix: bool) -> None:
    """As Gemma has it (runs of spaces and newlines are user-defined), or Llama 2."""
    control = [] if dummy_prefix else ["<start_of_turn>", "<end_of_turn>"]
    runs = [] if dummy_prefix else [mark * n for mark in ("\n", "\u2581") for n in range(2, 9)]
    written = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        model_type="bpe",
        vocab_size=470,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        add_dummy_prefix=dummy_prefix,
        remove_extra_whitespaces=False,
        control_symbols=control,
        user_defined_symbols=runs,
        **({} if dummy_prefix else GEMMA_IDS),
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    spm = SentencePieceProcessor(model_proto=written.getvalue())
    template = INSTRUCT if dummy_prefix else TURNS
    family = LlamaTokenizer if dummy_prefix else GemmaTokenizer
    oracle = family.from_pretrained(folder, add_bos_token=True, mask_token=None)
    oracle.chat_template = template
    if control:
        oracle.add_special_tokens({"extra_special_tokens": control})
    save(oracle, folder)
    types = {
        **{token: 2 for token in range(spm.vocab_size()) if spm.IsUnknown(token)},
        **{token: 3 for token in range(spm.vocab_size()) if spm.IsControl(token)},
        **{token: 6 for token in range(spm.vocab_size()) if spm.IsByte(token)},
        **{spm.PieceToId(piece): 4 for piece in runs},
    }
    tokens = [spm.IdToPiece(token) for token in range(spm.vocab_size())]
    write_gguf(
        folder,
        model="llama",
        pre="default",
        # GGUF has user-defined pieces as they look, with real spaces.
        tokens=[t.replace("\u2581", " ") if types.get(i) == 4 else t for i, t in enumerate(tokens)],
        scores=[spm.GetScore(token) for token in range(spm.vocab_size())],
        token_type=[types.get(token, 1) for token in range(spm.vocab_size())],
        bos_token_id=spm.bos_id(),
        eos_token_id=spm.eos_id(),
        unknown_token_id=spm.unk_id(),
        add_bos_token=True,
        add_space_prefix=dummy_prefix,
        chat_template=template,
    )
    write_expected(folder, oracle, spm.encode)


def save(oracle: Any, folder: Path) -> None:
    """As transformers saves it, without the names of this machine's folders."""
    oracle.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    for name in ("vocab_file", "is_local", "local_files_only"):
        config.pop(name, None)
    write_json(path, config)


def write_gguf(folder: Path, *, chat_template: str, **fields: Any) -> None:
    metadata = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    metadata["tokenizer.chat_template"] = chat_template
    write_json(folder / "gguf.json", metadata)


def write_expected(folder: Path, oracle: Any, encode: Callable[[str], list[int]]) -> None:
    """ids: by the vocabulary's own library. converted: by transformers, from tokenizer.json.

    Both are right for their file: conversions of SentencePiece models differ from the model in how
    runs of spaces are cut, and whether text that starts with a space gets another.
    """
    chats = []
    for messages in CHATS:
        if messages[0]["role"] == "system" and "[INST]" in oracle.chat_template:
            continue
        opened = [*messages, OPEN]
        chats.append(
            {
                "messages": messages,
                "ids": oracle.apply_chat_template(messages, return_dict=False),
                "prompt": oracle.apply_chat_template(
                    messages, add_generation_prompt=True, return_dict=False
                ),
                "opened": opened,
                "continued": oracle.apply_chat_template(
                    opened, continue_final_message=True, return_dict=False
                ),
            }
        )
    texts = [
        {
            "text": text,
            "ids": encode(text),
            "converted": oracle.encode(text, add_special_tokens=False),
        }
        for text in TEXTS
    ]
    prompt = {"text": TEXTS[0], "ids": oracle.encode(TEXTS[0])}
    write_json(folder / "expected.json", {"texts": texts, "chats": chats, "prompt": prompt})


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    for name, make in {
        "bpe": byte_level,
        "gemma": lambda folder: sentencepiece(folder, dummy_prefix=False),
        "llama2": lambda folder: sentencepiece(folder, dummy_prefix=True),
    }.items():
        folder = TARGET / name
        folder.mkdir(parents=True)
        make(folder)
        print(name, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
