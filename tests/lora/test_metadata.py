"""What trainers write is shown where it is sound, and left out where it is not."""

import json

import pytest

from ldm.lora import LoraMetadata, read_lora_metadata
from ldm.lora.metadata import MOST_TAGS


def test_kohya_s_metadata():
    tags = {"10_cat": {"cat": 12, "grass": 3, " sky ": 1}, "5_dog": {"dog": 7, "grass": 2}}
    read = read_lora_metadata(
        {
            "ss_base_model_version": "sdxl_base_v1-0",
            "ss_sd_model_name": "sd_xl_base_1.0.safetensors",
            "ss_network_dim": "16",
            "ss_network_alpha": "8.0",
            "ss_network_module": "networks.lora",
            "ss_output_name": "cats",
            "ss_num_train_images": "23",
            "ss_tag_frequency": json.dumps(tags),
            "modelspec.trigger_phrase": "a cat of mine",
        }
    )
    assert read == LoraMetadata(
        title="cats",
        base_model="sdxl_base_v1-0",
        base_file="sd_xl_base_1.0.safetensors",
        network="networks.lora",
        dim="16",
        alpha="8.0",
        trigger="a cat of mine",
        tags=(("cat", 12), ("dog", 7), ("grass", 5), ("sky", 1)),
        pictures=23,
    )


def test_a_file_that_says_nothing():
    assert read_lora_metadata({}) == LoraMetadata()
    assert read_lora_metadata({"ss_network_dim": "None", "ss_num_train_images": "many"}) == LoraMetadata()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1, 2]", "null", '{"a": 3}', "[" * 100_000),
        *('{"a": {"cat": "often"}}', '{"a": {"cat": true}}', '{"a": {" ": 3}}', '{"a": {"cat": -1}}'),
    ],
)
def test_broken_tags_are_no_tags(text):
    assert read_lora_metadata({"ss_tag_frequency": text}).tags == ()


def test_only_the_most_frequent_tags_are_kept():
    tags = {f"tag {i}": i + 1 for i in range(100)}
    read = read_lora_metadata({"ss_tag_frequency": json.dumps({"x": tags})})
    assert len(read.tags) == MOST_TAGS
    assert read.tags[0] == ("tag 99", 100)
    long = read_lora_metadata({"ss_output_name": "x" * 10_000})
    assert len(long.title) == 200
