import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mirage_losses import SPDContrastiveLoss, geodesic_similarity, info_nce
from mirage_losses.spd_contrastive_loss import SIMILARITIES

GOLDEN = Path(__file__).parents[1] / 'data'


def _numpy_info_nce(shallow, latent, temperature):
    shallow, latent = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (shallow, latent))
    scores = np.exp(shallow @ latent.T / temperature)
    return -np.log(np.diag(scores) / scores.sum(1)).mean()


def _pair(batch=4, dim=6):
    rng = np.random.default_rng(1)
    return rng.standard_normal((batch, dim)), rng.standard_normal((batch, dim))


def test_equals_the_authors_value():
    golden = np.load(GOLDEN / 'golden_tiny.npz')
    loss = info_nce(torch.from_numpy(golden['b_z_shallow']), torch.from_numpy(golden['b_z_latent']))
    assert loss.item() == pytest.approx(golden['b_info_nce'].item(), rel=1e-5)


@pytest.mark.parametrize('temperature', [0.07, 0.1, 1.0])
def test_equals_the_formula(temperature):
    shallow, latent = _pair()
    one_way = _numpy_info_nce(shallow, latent, temperature)
    back = _numpy_info_nce(latent, shallow, temperature)
    tensors = torch.tensor(shallow), torch.tensor(latent)
    assert info_nce(*tensors, temperature).item() == pytest.approx(one_way)
    assert info_nce(*tensors, temperature, symmetric=True).item() == pytest.approx((one_way + back) / 2)
    assert SPDContrastiveLoss(0.05, temperature)(*tensors).item() == pytest.approx(0.05 * one_way)


def test_gradient_and_autocast():
    shallow, latent = (torch.tensor(z) for z in _pair(3, 4))
    inputs = shallow.requires_grad_(), latent.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 0.5, symmetric=True), inputs)
    half = [z.detach().bfloat16() for z in inputs]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = info_nce(*half)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(_numpy_info_nce(*(z.float().numpy() for z in half), 0.1), rel=1e-5)


def test_bad_input():
    one = torch.rand(1, 64)
    with pytest.raises(ValueError, match='negatives are the other samples'):
        info_nce(one, one)
    with pytest.raises(ValueError, match='negatives are the other samples'):
        SPDContrastiveLoss()(one, one)
    with pytest.raises(ValueError, match=r'\(2, 64\) and \(3, 64\)'):
        info_nce(torch.rand(2, 64), torch.rand(3, 64))
    with pytest.raises(ValueError, match='temperature is 0'):
        SPDContrastiveLoss(temperature=0)


def _matrices(batch=4, n=3):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, batch, n, 2 * n))
    return tuple(x @ np.swapaxes(x, -1, -2) / (2 * n))


@pytest.mark.parametrize('similarity', SIMILARITIES[1:])
def test_geodesic_similarities_take_the_place_of_cosines(similarity):
    shallow, latent = (torch.tensor(z) for z in _matrices())
    scores = geodesic_similarity(shallow, latent, similarity, 0.2) / 0.5
    rows, columns = -scores.log_softmax(1).diagonal().mean(), -scores.log_softmax(0).diagonal().mean()
    torch.testing.assert_close(info_nce(shallow, latent, 0.5, similarity=similarity, shrinkage=0.2), rows)
    loss = SPDContrastiveLoss(0.05, 0.5, symmetric=True, similarity=similarity, shrinkage=0.2)
    torch.testing.assert_close(loss(shallow, latent), 0.05 * (rows + columns) / 2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert loss(shallow.float(), latent.float()).dtype == torch.float32


def test_geodesic_similarity_needs_covariances_and_cosine_needs_vectors():
    matrices, vectors = torch.rand(2, 3, 3), torch.rand(2, 3)
    with pytest.raises(ValueError, match=r'two \(b, n, n\) arrays.*\(2, 3\).*geometry: covariance'):
        info_nce(vectors, vectors, similarity='log_euclidean')
    with pytest.raises(ValueError, match=r'two \(b, d\) arrays.*\(2, 3, 3\)'):
        SPDContrastiveLoss()(matrices, matrices)
    with pytest.raises(ValueError, match="'riemann'; allowed are cosine, affine_invariant"):
        SPDContrastiveLoss(similarity='riemann')
    with pytest.raises(ValueError, match='shrinkage is 2'):
        SPDContrastiveLoss(shrinkage=2)
    one = torch.eye(3).expand(1, 3, 3)
    with pytest.raises(ValueError, match='negatives are the other samples'):
        info_nce(one, one, similarity='log_euclidean')


RUNS = {'cosine': _pair, 'affine_invariant': _matrices}


def _rank(rank, folder):
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    for similarity, samples in RUNS.items():
        shallow, latent = (torch.tensor(z)[2 * rank : 2 * rank + 2].float().requires_grad_() for z in samples())
        loss = SPDContrastiveLoss(symmetric=True, similarity=similarity)(shallow, latent)
        # DistributedDataParallel averages gradients over the ranks.
        (loss / 2).backward()
        torch.save((loss.detach(), shallow.grad, latent.grad), f'{folder}/{similarity}_{rank}.pth')
    dist.barrier()  # a rank that leaves early closes the connection under the others' backward pass
    os._exit(0)  # gloo's threads and those of autograd now and then abort each other while the interpreter ends


def test_two_ranks_give_the_loss_and_gradient_of_the_whole_batch():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (folder,), nprocs=2)
        saved = {s: [torch.load(os.path.join(folder, f'{s}_{rank}.pth')) for rank in range(2)] for s in RUNS}
    for similarity, parts in saved.items():
        shallow, latent = (torch.tensor(z).float().requires_grad_() for z in RUNS[similarity]())
        loss = info_nce(shallow, latent, symmetric=True, similarity=similarity)
        loss.backward()
        torch.testing.assert_close((parts[0][0] + parts[1][0]) / 2, loss.detach())
        torch.testing.assert_close(torch.cat([parts[0][1], parts[1][1]]), shallow.grad)
        torch.testing.assert_close(torch.cat([parts[0][2], parts[1][2]]), latent.grad)
