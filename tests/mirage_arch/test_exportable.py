import pytest
import torch
from test_mirage_arch import ABLATIONS, miniature

from mirage_arch.exportable import exportable


@pytest.mark.parametrize('options', [o for o in ABLATIONS if not o.keys() & {'spd_tap', 'geometry'}], ids=str)
def test_exportable_form_equals_the_network(options):
    net = miniature(**options).eval()
    form = exportable(net)
    with torch.no_grad():
        for size in ((1, 16, 24), (2, 13, 9), (1, 1, 3)):
            x = torch.rand(size[0], 3, *size[1:])
            assert torch.allclose(form(x), net(x), atol=1e-5)
