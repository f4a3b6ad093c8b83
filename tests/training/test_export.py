import json
from dataclasses import asdict

from ldm.data.lexicon import lexicon
from ldm.models.config import ModelConfig
from ldm.training.config import DEFAULT, SMALL
from ldm.training.export import EXAMPLES, model_config
from ldm.words import notice


def test_a_checkpoint_says_what_its_captions_said():
    config = model_config(DEFAULT)
    known = lexicon(DEFAULT.objects, ("easy", "free", "many"))
    assert {name: getattr(config, name) for name in asdict(known)} == asdict(known)
    assert config == model_config(DEFAULT)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_checkpoint_without_these_fields_is_read_as_before():
    values = model_config(DEFAULT).to_dict()
    for name in ("words", "synonyms", "plurals"):
        del values[name]
    config = ModelConfig.from_dict(values)
    assert (config.words, config.synonyms, config.plurals) == ((), {}, {})
    assert notice("an astronaut", "zorg", config) == ""


def test_examples_hold_known_words_only():
    assert model_config(DEFAULT).examples == EXAMPLES
    small = model_config(SMALL)
    assert "a cat on the grass" in small.examples and "a penguin in the snow" not in small.examples
    assert all(notice(text, "", small) == "" for text in small.examples)
