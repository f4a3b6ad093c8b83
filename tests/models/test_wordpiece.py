"""BERT's words."""

import json

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.models.bert import BERTEmbedder
from ldm.models.condition_config import BERTConfig
from ldm.models.wordpiece import WordPieceTokenizer, find_vocabulary

from .conditioners import told

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "a the of in un it cat dog photo cafe over 日 本 1 ##2 ##z ##s ##believ ##able"
PIECES = [*MARKS, *WORDS.split(), *",.!'-"]
CORPUS = [
    "",
    " ",
    "a photo of a cat",
    "A PHOTO, of the DOG!",
    "unbelievable unbelievables",
    "café Café cafe\u0301",
    "日本",
    "don't in-it",
    "12 121",
    "x" * 120,
    "[MASK] a [SEP] [CLS]",
    "\u200b\ufeffa\u00a0cat\r\n",
    "a\x00b\x07cat",
    "zzz itz itz1",
    "“a” – …",
    "😀 cat",
    "overs over1",
    "Ünit İt ß",
    "in\u0300it",
    "a.cat",
    "c a t",
]


def test_words_are_read_as_transformers_reads_them():
    from transformers import BertTokenizer

    vocab = {piece: index for index, piece in enumerate(PIECES)}
    ours, theirs = WordPieceTokenizer(PIECES, 9), BertTokenizer(vocab=vocab)
    for prompt in CORPUS:
        assert ours.unpadded(prompt) == theirs(prompt).input_ids, prompt
        padded = theirs(prompt, truncation=True, max_length=9, padding="max_length").input_ids
        assert ours.ids(prompt) == padded, prompt
        assert len(ours.strings(prompt)) == 9
        assert ours.ids(prompt).count(ours.pad) == 9 - ours.used(prompt) or "[PAD]" in prompt


def test_what_does_not_fit_is_named():
    words = WordPieceTokenizer(PIECES, 5)
    assert words.strings("Unbelievables cats") == ["[CLS]", "un", "##believ", "##able", "[SEP]"]
    assert words.unread("Unbelievables the dog") == "s the dog"
    assert words.unread("a cat") == ""


def test_a_vocabulary_survives_json():
    words = WordPieceTokenizer(PIECES, 9)
    again = WordPieceTokenizer.from_dict(json.loads(json.dumps(words.to_dict())))
    assert again.to_dict() == words.to_dict()
    assert again.ids("a photo of cats") == words.ids("a photo of cats")
    with pytest.raises(
        CheckpointError, match=r"^The WordPiece vocabulary cannot be read: KeyError: 'pieces'\.$"
    ):
        WordPieceTokenizer.from_dict({"length": 9})


def test_without_a_vocabulary_the_model_is_built_and_asks_for_it():
    net = BERTEmbedder(BERTConfig(vocab_size=30, dim=8, depth=1, heads=1, head_dim=8))
    assert net.encode_ids(torch.tensor([[1, 2, 3]])).shape == (1, 3, 8)
    for call in (net.check, net.tokens, net.used, net.unread, lambda p: net.condition([p])):
        message = told(call, "a cat")
        assert message.startswith("This model reads words by BERT's WordPiece vocabulary")
        assert "vocab.txt of bert-base-uncased beside the file" in message


def test_a_vocabulary_of_another_size_is_refused():
    net = BERTEmbedder(
        BERTConfig(vocab_size=40, dim=8, depth=1, heads=1, head_dim=8), WordPieceTokenizer(PIECES)
    )
    assert (
        told(net.check, "a") == f"The vocab.txt beside this model must have 40 pieces, it has {len(PIECES)}."
    )


def test_the_vocabulary_is_a_file_beside_the_checkpoint(tmp_path):
    assert find_vocabulary(tmp_path) is None
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    assert find_vocabulary(tmp_path) == tmp_path / "vocab.txt"
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("\n".join(PIECES), "utf-8")
    found = find_vocabulary(tmp_path)
    assert found == tmp_path / "tokenizer" / "vocab.txt"
    for path in (found, tmp_path / "vocab.txt"):
        words = WordPieceTokenizer.from_file(path)
        assert words.pieces == PIECES
        assert (words.length, words.pad, words.bos, words.eos) == (77, 0, 2, 3)


def test_a_file_that_is_no_vocabulary_is_an_error(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"^vocab\.txt is no readable WordPiece vocabulary: "):
        WordPieceTokenizer.from_file(tmp_path / "vocab.txt")
    with pytest.raises(CheckpointError, match=r"needs the piece '\[CLS\]', this has none\.$"):
        WordPieceTokenizer(["[PAD]", "[UNK]", "[SEP]", "[MASK]"])
