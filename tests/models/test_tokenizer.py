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
