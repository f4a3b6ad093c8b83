"""CLIP's tokenizer: the ids of the original, and vocabularies of our own in the same format."""

import json

import pytest

from ldm.errors import CheckpointError
from ldm.models.clean_text import clean
from ldm.models.tokenizer import BOS, EOS, Tokenizer, train_bpe

from ..golden_cases import case

CAPTIONS = ["a large red ball on a mat", "a small red box, isn't it?", "two balls and a box", "the red mat"]


@pytest.fixture(scope="module")
def own() -> Tokenizer:
    vocab, merges = train_bpe(CAPTIONS, 560)
    return Tokenizer(vocab, merges, 12, vocab[BOS], vocab[EOS], vocab[EOS])


def read_as_by_us(prompt: str, name: str) -> bool:
    """Whether another tokenizer of the case is meant to agree with ours on a prompt.

    transformers' fast one does not clean, and open_clip takes a mark in a prompt for text.
    """
    if name == "fast":
        return clean(prompt) == prompt
    return name == "slow" or not any(mark in prompt.lower() for mark in (BOS, EOS))


# what a short prompt is filled up with: see the case's `what`
PADS = {"slow": None, "fast": None, "openclip": 0}


@pytest.mark.golden
@pytest.mark.parametrize("name", PADS)
def test_ids_are_those_of_the_original_with_clips_vocabulary(name):
    golden = case("clip_tokenizer")
    padded, unpadded, prompts = (golden.config[k] for k in ("padded", "unpadded", "prompts"))
    assert set(padded) == set(unpadded) == set(PADS)
    tokenizer = Tokenizer.clip(length=len(padded[name][0]), pad=PADS[name])
    agreed = 0
    for prompt, ids, all_ids in zip(prompts, padded[name], unpadded[name], strict=True):
        if read_as_by_us(prompt, name):
            assert tokenizer.ids(prompt) == ids, prompt
            assert tokenizer.unpadded(prompt) == all_ids, prompt
            agreed += 1
    assert agreed > len(prompts) // 2


@pytest.mark.golden
def test_ids_are_those_of_the_original_with_a_folders_vocabulary():
    golden = case("clip_tokenizer")
    folder, tiny, prompts = (golden.config[k] for k in ("tiny_files", "tiny", "prompts"))
    assert set(tiny) <= set(PADS)
    for name, theirs in tiny.items():
        tokenizer = Tokenizer.from_folder(golden.folder / folder, length=len(theirs[0]))
        for prompt, ids in zip(prompts, theirs, strict=True):
            if read_as_by_us(prompt, name):
                assert tokenizer.ids(prompt) == ids, (name, prompt)


# transformers' tokenizer and ours agree on these, unless cleaning changes one or READ_OTHERWISE says why
NASTY = [
    "",
    " ",
    "\t\n \r\n",
    "a" * 300,
    "A\xa0b",
    "\u3000wide space",
    "é́",
    "İstanbul ı ß ẞ",
    "ΣΊΣΥΦΟΣ ς",
    "ǅ ǈ",
    "①②③ ½ ²³ Ⅷ",
    "१२३ ٣٤ 一二三",
    "हिन्दी क्षत्रिय",
    "ไทยไม่เว้นวรรค",
    "한국어 조합 한",
    "\u05e2\u05d1\u05e8\u05d9\u05ea \u200frtl\u200f",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 "
    "\U0001f1e9\U0001f1ea \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd",
    "😀😀😀",
    "\u200b\u200c\u200d\u2060",
    "\ufeffbom",
    "soft\xadhyphen",
    "a\x00b\x07c",
    "\x1b[31mred\x1b[0m",
    "I'M YOU'LL THEY'VE 'S 'T x'd 'tis",
    "''' ``` \"\"\"",
    "don’t “quote” ‚low‘ «fr» ",
    "l'été d'où aujourd'hui",
    "foo_bar__baz ___ _",
    "a.b.c... ?!?! --- -- -",
    "http://example.com/a?b=c&d=%20#frag",
    "me@example.com #tag $5.00 €5 50% 1,000.00",
    "(((masterpiece:1.3))), [[bad]], {x|y}",
    f"<lora:name:0.8> {BOS}{EOS} <|STARTOFTEXT|>",
    "<|endoftext|",
    "&amp; &lt;b&gt; &#39; &nbsp; &notanentity; &",
    "\uff26\uff55\uff4c\uff4c\u3000\uff57\uff49\uff44\uff54\uff48",
    "ﬀ ﬁ ﬂ ﬃ ﬅ ﬆ ĳ",
    "ÃŸ Ã© â€œ",
    "zalgo h̷͈̑e̶͔̾",
    "x́y",
    "Å Å Å Ω",
    "…‥․",
    "−–—‐‑‒",
    "1st 2nd 3rd 10x10 512×512 16:9 f/1.8 35mm",
    "C++ C# .NET a+b=c^2",
    "naïve façade",
    "ñandú",
    "Ça",
    "\u0345",
    "ﷺ",
    "漢字かなカナ㍿",
    "word" * 40,
    "🎨" * 100,
    "! " * 90,
    "\U0001f9d1\u200d\U0001f680",
    "\u2028line\u2029para",
    "tab\tbed",
    "mixed日本and英語text",
    "ABCdef123ghi",
    "Ünïcödé ÀÉÎ",
    "ⅷ ⅻ ↑→↓",
    "\u0300 alone",
    "a\u0300\u0316",
    "nbsp\xa0\xa0x",
    "\x85 nel",
]
READ_OTHERWISE = {
    "ΣΊΣΥΦΟΣ ς": 'Python, as the slow tokenizer and open_clip, makes the last sigma of a word "ς"',
    f"<lora:name:0.8> {BOS}{EOS} <|STARTOFTEXT|>": "a mark in capitals is a mark to the slow tokenizer",
    "\u0345": "an accent whose capital is a letter is no word to the module regex, which the originals use",
}


@pytest.fixture(scope="module")
def transformers_tokenizer():
    """transformers' own code over the vocabulary that ships here."""
    from transformers import CLIPTokenizer

    tokenizer = Tokenizer.clip()
    return CLIPTokenizer(vocab=dict(tokenizer.vocab), merges=list(tokenizer.merges))


def test_a_nasty_corpus_is_read_as_transformers_reads_it(transformers_tokenizer):
    tokenizer = Tokenizer.clip()
    otherwise = [
        prompt
        for prompt in NASTY
        if clean(prompt) == prompt and transformers_tokenizer(prompt).input_ids != tokenizer.unpadded(prompt)
    ]
    assert set(otherwise) == set(READ_OTHERWISE)
    assert len([p for p in NASTY if clean(p) == p]) > 45


def test_what_is_cleaned_is_read_as_transformers_reads_the_clean_text(transformers_tokenizer):
    tokenizer = Tokenizer.clip()
    for prompt in NASTY:
        if clean(prompt) != prompt:
            assert tokenizer.unpadded(prompt) == transformers_tokenizer(clean(prompt)).input_ids, prompt


def test_a_padding_of_zeros_is_all_that_open_clip_s_ids_differ_in():
    tokenizer = Tokenizer.clip()
    zero = tokenizer.padded_with(0)
    for prompt in NASTY:
        ids, used = tokenizer.ids(prompt), tokenizer.used(prompt)
        assert zero.ids(prompt) == ids[:used] + [0] * (77 - used)
        assert set(ids[used:]) <= {tokenizer.eos}
    assert zero.ids("a cat") == Tokenizer.clip(pad=0).ids("a cat")


def test_a_tokenizer_with_another_padding_still_has_clip_s_vocabulary():
    tokenizer = Tokenizer.clip()
    assert tokenizer.padded_with(0).is_clip
    assert tokenizer.teaching({"sks": (49408,)}).is_clip
    assert tokenizer.pad == 49407


def test_what_does_not_fit_is_named(own):
    assert own.unread("red " * own.length) == "red red"
    assert own.unread("red ball") == ""
    assert Tokenizer.clip(length=4).unread("One two THREE, naïve 日本") == "three , naïve 日本"
    assert own.used("red " * 50) == own.length
    assert own.used("") == 2


TAUGHT = {"sks": (600, 601), "<cat-toy>": (602,), "my cat": (603,), "cat": (604,)}


@pytest.mark.parametrize(
    ("prompt", "strings"),
    [
        ("a sks dog", ["a", "sks", "sks[2]", "dog"]),
        ("a SKS, dog", ["a", "sks", "sks[2]", ",", "dog"]),
        ("(sks:1.2)", ["(", "sks", "sks[2]", ":", "1", ".", "2", ")"]),
        ("asks sksy sks_2", ["asks", "sk", "sy", "sks", "_", "2"]),
        ("on<cat-toy>off", ["on", "<cat-toy>", "off"]),
        ("my cat, my\tcat, cats", ["my cat", ",", "my", "cat", ",", "cats"]),
        ("sks sks", ["sks", "sks[2]", "sks", "sks[2]"]),
    ],
)
def test_a_taught_word_is_found_where_it_stands_alone_the_longest_first(prompt, strings):
    tokenizer = Tokenizer.clip(length=12).teaching(TAUGHT)
    assert tokenizer.strings(prompt)[1 : len(strings) + 1] == strings


def test_a_tokenizer_that_was_taught_reads_everything_else_as_before():
    tokenizer = Tokenizer.clip()
    taught = tokenizer.teaching(TAUGHT)
    for prompt in (p for p in NASTY if "cat" not in p):
        assert taught.unpadded(prompt) == tokenizer.unpadded(prompt)
    assert tokenizer.taught == {} and taught.to_dict() == tokenizer.to_dict()
    assert taught.teaching({}).unpadded("my cat") == tokenizer.unpadded("my cat")
    assert Tokenizer.clip(length=4).teaching(TAUGHT).unread("a red sks dog") == "sks sks[2] dog"


def test_clips_vocabulary_has_its_size_and_marks():
    tokenizer = Tokenizer.clip()
    assert (len(tokenizer.vocab), tokenizer.bos, tokenizer.eos, tokenizer.pad) == (49408, 49406, 49407, 49407)
    assert Tokenizer.clip(pad=0).ids("a")[:4] == [49406, 320, 49407, 0]


def test_strings_are_words_without_their_end_mark():
    strings = Tokenizer.clip(length=9).strings("A photo of an über-cat")
    assert strings == [BOS, "a", "photo", "of", "an", "ü", "ber", "-", EOS]


def test_a_long_prompt_is_cut_and_keeps_its_end_mark(own):
    ids = own.ids("red " * 50)
    assert len(ids) == own.length
    assert (ids[0], ids[-1]) == (own.bos, own.eos)
    assert len(own.unpadded("red " * 50)) == 52


def test_learned_words_are_single_pieces(own):
    assert own.strings("red ball")[:4] == [BOS, "red", "ball", EOS]


def test_any_text_can_be_written_in_a_learned_vocabulary(own):
    prompt = "日本 Ж 😀 #7"
    pieces = {index: piece for piece, index in own.vocab.items()}
    letters = "".join(pieces[index] for index in own.unpadded(prompt)[1:-1])
    clip = {index: piece for piece, index in Tokenizer.clip().vocab.items()}
    assert letters == "".join(clip[index] for index in Tokenizer.clip().unpadded(prompt)[1:-1])


def test_training_a_vocabulary_stops_when_every_word_is_one_piece():
    vocab, merges = train_bpe(["red ball", "red"], 5000)
    assert len(merges) == 5
    assert len(vocab) == 512 + 5 + 2
    assert list(vocab)[-2:] == [BOS, EOS]


def test_training_a_vocabulary_does_not_depend_on_the_order_of_captions():
    assert train_bpe(CAPTIONS, 540) == train_bpe(CAPTIONS[::-1], 540)


def test_a_vocabulary_has_at_most_the_size_asked_for():
    vocab, merges = train_bpe(CAPTIONS, 520)
    assert (len(vocab), len(merges)) == (520, 6)


def test_a_tokenizer_survives_json(own):
    again = Tokenizer.from_dict(json.loads(json.dumps(own.to_dict())))
    assert again.to_dict() == own.to_dict()
    assert again.ids(CAPTIONS[1]) == own.ids(CAPTIONS[1])


def test_marks_in_a_prompt_are_read_as_marks(own):
    assert own.unpadded(f"{BOS} red {EOS}") == [own.bos, own.bos, own.vocab["red</w>"], own.eos, own.eos]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a&amp;b &lt;tag&gt; &EACUTE;", "a&b <tag> É"),
        ("1 < 2 &amp; 3", "1 < 2 &amp; 3"),
        ("“curly” ‘quotes’ ﬁ Ａ", "\"curly\" 'quotes' fi A"),
        ("e\u0301 \ud83d\ude00 \ud800", "é 😀 \ufffd"),
        ("zero\ufeff \x1b[1mbold\x1b[0m", "zero bold"),
    ],
)
def test_text_is_cleaned_as_ftfy_does(text, cleaned):
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"merges": ["a b c"]},
            "The tokenizer cannot be read: ValueError: too many values to unpack (expected 2).",
        ),
        ({"eos": -1}, "The tokenizer has no piece with the id of eos, -1."),
        (
            {"vocab": 3},
            "The tokenizer cannot be read: AttributeError: 'int' object has no attribute 'items'.",
        ),
    ],
)
def test_a_broken_tokenizer_is_an_error(own, change, message):
    with pytest.raises(CheckpointError) as error:
        Tokenizer.from_dict(own.to_dict() | change)
    assert str(error.value) == message


def test_a_folder_without_a_vocabulary_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"is no readable tokenizer folder: .*vocab\.json"):
        Tokenizer.from_folder(tmp_path)
