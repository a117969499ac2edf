"""The network with the Hugging Face hub's methods; needs the extra ``[hub]``.

from mirage_restore.hub import HubMIRAGE
HubMIRAGE(dim=24).push_to_hub('owner/name')
net = HubMIRAGE.from_pretrained('owner/name')
restore = Restorer('owner/name')
"""

from __future__ import annotations

from huggingface_hub import PyTorchModelHubMixin

from mirage_arch import MIRAGEArch

__all__ = ['HubMIRAGE']


class HubMIRAGE(  # type: ignore[call-arg]  # the hub's mixin takes them
    MIRAGEArch,
    PyTorchModelHubMixin,
    library_name='mirage-ir',
    license='mit',
    pipeline_tag='image-to-image',
    tags=['image-restoration', 'denoising', 'deraining', 'dehazing'],
    paper_url='https://arxiv.org/abs/2505.18679',
):
    """`MIRAGEArch` with ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``; its arguments go along.

    Its ``config.json`` holds the arguments, its ``model.safetensors`` is read by every loader of this project.
    """
