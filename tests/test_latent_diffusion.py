import torch

from ldm.models.config import ModelConfig
from ldm.models.preview import PreviewConfig, PreviewDecoder
from tests.conftest import tiny_config, tiny_model


def test_submodules_have_the_names_of_the_originals(model):
    prefixes = {key.split(".")[0] for key in model.state_dict()}
    assert prefixes == {"model", "first_stage_model", "cond_stage_model"}
    keys = model.state_dict().keys()
    assert "model.diffusion_model.input_blocks.0.0.weight" in keys
    assert "first_stage_model.encoder.down.0.downsample.conv.weight" in keys
    assert "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight" in keys


def test_the_originals_names_for_the_schedule_are_there(model):
    assert (model.n_steps, model.linear_start, model.linear_end) == (1000, 0.00085, 0.012)
    assert model.latent_scaling_factor == 0.18215
    assert model.device == torch.device("cpu")


def test_latents_are_scaled_on_the_way_in_and_out(model):
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(1))
    posterior = model.first_stage_model.encode(images)
    torch.testing.assert_close(model.autoencoder_encode(images, noise), 0.18215 * posterior.sample(noise))
    torch.testing.assert_close(model.autoencoder_encode(images, mean=True), 0.18215 * posterior.mean)
    z = model.autoencoder_encode(images, mean=True)
    torch.testing.assert_close(model.autoencoder_decode(z), model.first_stage_model.decode(posterior.mean))


def test_a_sample_is_fresh_unless_its_noise_is_given(model):
    images = torch.zeros(1, 3, 16, 16)
    assert not torch.equal(model.autoencoder_encode(images), model.autoencoder_encode(images))


def test_text_conditioning_has_one_row_per_position(model):
    context = model.get_text_conditioning(["a red circle", ""])
    assert context.shape == (2, 12, 32)
    torch.testing.assert_close(context[1:], model.get_text_conditioning([""]))


def test_the_network_in_float32_and_through_a_graph_agree(model):
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 700.5])
    context = model.get_text_conditioning(["a red circle", "a blue square"])
    with torch.no_grad():
        output, maps = model.predict(x, t, context, record=True)
        torch.testing.assert_close(output, model(x, t, context))
    assert [tuple(m.shape) for m in maps] == [(2, 12, 8, 8), (2, 12, 4, 4)]


def test_the_preview_is_the_best_linear_guess_of_the_decoder():
    model = tiny_model()
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    preview, decoded = model.preview_decode(z), model.autoencoder_decode(z)
    assert preview.shape == decoded.shape
    assert (preview - decoded).std() < decoded.std()


def test_the_preview_is_a_transposed_convolution_of_the_latents():
    model = tiny_model()
    model.fit_preview()
    z = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(model.preview_decode(z), model.preview(z), rtol=1e-4, atol=1e-5)


def test_the_small_decoder_is_no_part_of_the_models_weights():
    model = tiny_model()
    keys = list(model.state_dict())
    decoder = PreviewDecoder(PreviewConfig("tiny", 4, 4, (8,), (1,))).eval().requires_grad_(False)
    model.use_small_decoder(decoder)
    z = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(model.quick_decode(z), decoder(z))
    assert not model.quick_decode(z.requires_grad_()).requires_grad
    assert list(model.state_dict()) == keys


def test_a_config_survives_json():
    config = tiny_config(vocabulary={"animal": ["cat"]}, examples=("a cat",))
    again = ModelConfig.from_dict(config.to_dict())
    assert again.unet == config.unet and again.to_dict() == config.to_dict()
