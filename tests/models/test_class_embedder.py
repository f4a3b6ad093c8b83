"""Classes by number and by name."""

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.models.class_embedder import ClassEmbedder
from ldm.models.class_names import class_number, digits, imagenet, labelled
from ldm.models.condition_config import ClassConfig

from .conditioners import told


def test_imagenet_s_names_are_all_there_in_their_order():
    names = imagenet()
    assert len(names) == len(set(names)) == 1000
    assert [names[i] for i in (0, 134, 207, 264, 474, 999)] == [
        "tench", "crane bird", "golden retriever", "Cardigan", "cardigan", "toilet tissue",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("207", 207),
        (" 207 ", 207),
        ("golden retriever", 207),
        ("Golden  Retriever", 207),
        ("golden_retriever", 207),
        ("golden retriever (207)", 207),
        ("Cardigan", 264),
        ("cardigan", 474),
        ("CARDIGAN (264)", 264),
        ("crane", 517),
        ("0", 0),
        ("999", 999),
    ],
)
def test_a_class_is_found_by_number_or_name(text, number):
    assert class_number(text, 1000, imagenet()) == number


def test_every_class_is_found_by_what_a_menu_calls_it():
    names = (*imagenet(), "crane", "one (2)")
    for number, name in enumerate(names):
        assert class_number(labelled(number, names), len(names), names) == number
        if name != "crane":
            assert class_number(name, len(names), names) == number
    assert told(class_number, "crane", len(names), names) == (
        "The class 'crane' can be 'crane (517)' or 'crane (1000)'; which?"
    )
    assert [class_number(labelled(n, digits()), 10, digits()) for n in range(10)] == list(range(10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("golden retreiver", "Unknown class 'golden retreiver'. Did you mean 'golden retriever (207)'? "),
        ("1000", "The class must be between 0 and 999, got 1000."),
        ("9" * 60, f"The class must be between 0 and 999, got {'9' * 40}."),
        ("-1", "Unknown class '-1'."),
        ("crane (134)", "Unknown class 'crane (134)'."),
        ("CARDIGAN", "The class 'CARDIGAN' can be 'Cardigan (264)' or 'cardigan (474)'; which?"),
        ("²", "Unknown class '²'."),
    ],
)
def test_no_class_is_an_error_that_names_the_nearest(text, message):
    assert told(class_number, text, 1000, imagenet()).startswith(message)


def test_a_list_of_names_may_be_shorter_than_the_classes():
    assert class_number("12", 20, ("one",)) == 12
    assert "its names are not known" in told(class_number, "dog", 20, ())


def test_a_class_is_a_row_and_the_empty_prompt_the_last_one():
    net = ClassEmbedder(ClassConfig(n_classes=1001, embed_dim=4))
    found = net.condition(["golden retriever", "", "1000"])
    assert torch.equal(found.context[:, 0], net.embedding.weight[[207, 1000, 1000]])
    assert found.vector is None
    assert (net.classes, len(net.labels()), net.guides) == (1000, 1000, True)
    assert net.tokens("207") == ["golden retriever (207)"]
    assert net.tokens("") == ["no class"]
    assert net.labels()[134] == "crane bird (134)"


def test_a_model_without_an_empty_class_asks_for_one():
    net = ClassEmbedder(ClassConfig(n_classes=1000, embed_dim=4, null=None))
    assert not net.guides
    assert net.classes == 1000
    assert told(net.check, "") == (
        "This model always draws a class: the prompt must be a number from 0 to 999 or a name, not empty."
    )


def test_class_numbers_go_beside_the_context_where_the_u_net_has_the_table():
    net = ClassEmbedder(ClassConfig(n_classes=10, embed_dim=0, null=-1, names="digits"))
    found = net.condition(["7", "", "0"])
    assert found.context.shape == (3, 0, 0)
    assert found.vector.tolist() == [7, -1, 0]
    assert found.vector.dtype == torch.int64
    assert not list(net.parameters())
    assert (net.classes, net.labels()) == (10, list("0123456789"))


def test_no_class_can_be_zeros():
    net = ClassEmbedder(ClassConfig(n_classes=10, embed_dim=4, null=-1, names=""))
    context = net.condition(["", "3"]).context
    assert not context[0].any()
    assert torch.equal(context[1, 0], net.embedding.weight[3])
    net.remember_names(["nil", "one", "two", "three"])
    assert torch.equal(net.condition(["three"]).context[0], context[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": "cifar"}, "names must be one of 'imagenet', 'digits', '', got 'cifar'."),
        ({"null": 10}, "null must be between -1 and 9, one of the classes, got 10."),
    ],
)
def test_a_class_config_can_be_wrong(changes, message):
    with pytest.raises(CheckpointError) as error:
        ClassEmbedder(ClassConfig(**({"n_classes": 10, "null": None} | changes)))
    assert str(error.value) == message
