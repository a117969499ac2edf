"""The measures against independent computations, and their values where nothing is there to measure."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mirage_arch.mirage_arch import MIRAGEArch
from research.features import analysis
from research.features.analysis import ChannelMoments


def small_net(**options):
    return MIRAGEArch(
        **{'dim': 12, 'num_blocks': (1, 1, 1, 1), 'num_refinement_blocks': 1, 'heads': (1, 1, 1, 1), **options}
    ).eval()


@pytest.fixture
def features():
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(6, 6)) * np.array([5, 3, 1, 0.5, 0.1, 0.01])
    features = np.einsum('ij,bjhw->bihw', mixing, rng.normal(size=(2, 6, 9, 7)))
    return features + rng.normal(size=(6, 1, 1))


def test_explained_variance_is_that_of_a_pca_over_pixels(features):
    pixels = features.transpose(0, 2, 3, 1).reshape(-1, 6)
    expected = np.cumsum(PCA().fit(pixels).explained_variance_ratio_)
    moments = ChannelMoments.of(features)
    np.testing.assert_allclose(analysis.explained_variance(moments), expected, atol=1e-10)
    assert analysis.components_for(moments, 0.9) == int(np.searchsorted(expected, 0.9)) + 1
    assert analysis.components_for(moments, 1.0) == 6
    assert analysis.effective_rank_ratio(moments) == analysis.components_for(moments) / 6


@pytest.mark.parametrize('centre', [False, True])
def test_spectrum_is_that_of_a_singular_value_decomposition(features, centre):
    matrix = features.transpose(1, 0, 2, 3).reshape(6, -1)
    if centre:
        matrix = matrix - matrix.mean(axis=1, keepdims=True)
    values = np.linalg.svd(matrix, compute_uv=False)
    found = analysis.singular_spectrum(ChannelMoments.of(features), centre)
    np.testing.assert_allclose(found, values / values[0], atol=1e-7)


def test_channel_similarity_is_cosine_or_correlation(features):
    moments = ChannelMoments.of(features)
    matrix = features.transpose(1, 0, 2, 3).reshape(6, -1)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    np.testing.assert_allclose(analysis.channel_similarity(moments), unit @ unit.T, atol=1e-10)
    np.testing.assert_allclose(analysis.channel_similarity(moments, centre=True), np.corrcoef(matrix), atol=1e-10)


def test_moments_of_parts_add_up_whatever_their_sizes(features):
    parts = (
        ChannelMoments.of(features[0]) + ChannelMoments.of(features[1, :, :4]) + ChannelMoments.of(features[1, :, 4:])
    )
    whole = ChannelMoments.of(torch.from_numpy(features))
    assert parts.pixels == whole.pixels == 126
    np.testing.assert_allclose(parts.products, whole.products)
    with pytest.raises(ValueError, match='6 and of 5 channels'):
        whole + ChannelMoments.of(features[:, :5])


@pytest.mark.parametrize('empty', [np.zeros((4, 5, 5)), np.full((4, 5, 5), 0.1), np.ones((4, 1, 1)) * 3.7])
def test_features_without_variance_have_defined_values(empty):
    moments = ChannelMoments.of(empty)
    assert analysis.components_for(moments) == 0
    assert analysis.effective_rank_ratio(moments) == 0
    np.testing.assert_array_equal(analysis.explained_variance(moments), np.ones(4))
    for centre in (False, True):
        assert np.isfinite(analysis.singular_spectrum(moments, centre)).all()
        assert np.isfinite(analysis.channel_similarity(moments, centre)).all()
    np.testing.assert_array_equal(analysis.singular_spectrum(moments, centre=True), np.zeros(4))
    np.testing.assert_array_equal(analysis.channel_similarity(moments, centre=True), np.eye(4))


def test_features_that_are_not_finite_or_empty_are_refused():
    for bad in (np.array([[[np.nan]]]), np.array([[[np.inf]]])):
        with pytest.raises(ValueError, match='not finite'):
            ChannelMoments.of(bad)
    with pytest.raises(ValueError, match='not empty'):
        ChannelMoments.of(np.zeros((3, 0, 2)))
    with pytest.raises(ValueError, match=r'share must be in'):
        analysis.components_for(ChannelMoments.of(np.ones((2, 2, 2))), 0)


def test_captured_features_are_those_of_the_forward_pass():
    net, image = small_net(), torch.rand(2, 3, 32, 24)
    features = analysis.capture_features(net.train(), image)
    assert net.training, 'the mode of the network is left as it was'
    net.eval()
    assert {place: tuple(value.shape[1:]) for place, value in features.items()} == {
        'patch_embed': (12, 32, 24),
        'scale1': (12, 32, 24),
        'scale2': (24, 16, 12),
        'scale3': (48, 8, 6),
        'scale4': (96, 4, 3),
        'latent': (48, 4, 3),
    }
    with torch.no_grad():
        torch.testing.assert_close(features['latent'], net.reduce_dim_level3(features['scale4']))
        embeddings = net(image, return_embeddings=True)[1]
    shallow, latent = analysis.shallow_latent_vectors(net, features, 'embedding')
    torch.testing.assert_close(shallow.float(), embeddings['shallow'])
    torch.testing.assert_close(latent.float(), embeddings['latent'])
    assert not net.encoder_level1._forward_hooks


def test_the_shallow_tap_of_the_network_is_used():
    net = small_net(spd_tap='patch_embed')
    image = torch.rand(1, 3, 24, 24)
    shallow, _ = analysis.shallow_latent_vectors(net, analysis.capture_features(net, image), 'embedding')
    with torch.no_grad():
        torch.testing.assert_close(shallow.float(), net(image, return_embeddings=True)[1]['shallow'])


def test_comparisons_without_heads():
    net = small_net(spd_head=False)
    one_pixel = analysis.capture_features(net, torch.rand(1, 3, 5, 3))
    for how in ('energy', 'pooled'):
        vectors = analysis.shallow_latent_vectors(net, one_pixel, how)
        assert np.isfinite(analysis.similarity_matrix(*vectors)).all()
    with pytest.raises(ValueError, match='has none'):
        analysis.shallow_latent_vectors(net, one_pixel, 'embedding')
    with pytest.raises(ValueError, match='allowed are embedding, energy, pooled'):
        analysis.shallow_latent_vectors(net, one_pixel, 'cosine')


def test_energy_and_pooled_descriptors_by_hand():
    shallow, latent = torch.zeros(1, 2, 16, 16), torch.zeros(1, 4, 8, 8)
    shallow[:, 0, :4], latent[:, 3, :2] = 5, 2  # strong in the same quarter of the image
    shallow[:, 1] = 1e-3
    features = {'scale1': shallow, 'latent': latent}
    a, b = analysis.shallow_latent_vectors(torch.nn.Identity(), features, 'energy')
    assert analysis.similarity_matrix(a, b)[0, 0] == pytest.approx(1, abs=1e-6)
    _, b = analysis.shallow_latent_vectors(torch.nn.Identity(), {**features, 'latent': latent.flip(2)}, 'energy')
    assert analysis.similarity_matrix(a, b)[0, 0] < 0
    _, pooled = analysis.shallow_latent_vectors(torch.nn.Identity(), features, 'pooled')
    np.testing.assert_allclose(pooled, [[0, 0.25]])  # channels 2 and 3: mean of 0 and 2 / 4


def test_similarity_matrix_and_its_figures():
    shallow, latent = np.array([[1.0, 0], [0, 2], [0, 0]]), np.array([[3.0, 0], [1, 1], [5, 5]])
    matrix = analysis.similarity_matrix(shallow, latent)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(matrix, [[1, half, half], [0, half, half], [0, 0, 0]])
    assert analysis.mean_off_diagonal(matrix) == pytest.approx(3 * half / 6)
    assert analysis.off_diagonal_ratio(matrix) == pytest.approx((3 * half / 6) / ((1 + half) / 3))
    assert analysis.off_diagonal_ratio(-np.ones((3, 3)), magnitude=True) == 1
    assert analysis.off_diagonal_ratio(np.zeros((2, 2))) == 1
    assert analysis.off_diagonal_ratio(np.array([[0, 1.0], [1, 0]])) == np.inf
    with pytest.raises(ValueError, match='2 or more rows'):
        analysis.mean_off_diagonal(np.ones((1, 1)))
    with pytest.raises(ValueError, match='one shape'):
        analysis.similarity_matrix(shallow, latent[:2])


def test_other_networks_and_broken_weights_are_refused():
    with pytest.raises(ValueError, match='Identity has no module patch_embed, encoder_level1'):
        analysis.capture_features(torch.nn.Identity(), torch.rand(1, 3, 8, 8))
    net = small_net()
    net.patch_embed.proj.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match='patch_embed are not finite'):
        analysis.capture_features(net, torch.rand(1, 3, 8, 8))
