"""MIRAGE for programs that load models through spandrel, such as chaiNNer and ComfyUI. Needs the extra ``[spandrel]``.

    import mirage_restore.spandrel
    mirage_restore.spandrel.install()

Then `spandrel.ModelLoader` knows the weights that come with this package and any others of the network. Without it
spandrel takes them for Restormer's, which has the same stages, and fails at loading them.
"""

from __future__ import annotations

from collections.abc import Mapping

from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
    SizeRequirements,
    StateDict,
)
from torch import Tensor

from mirage_arch import MIRAGEArch
from mirage_arch.checkpoints import convert_released_state_dict, infer_arguments, load_into

__all__ = ['MIRAGEArchitecture', 'install']

_OURS_ALONE = 'reduce_dim_level3.weight'  # of all networks with Restormer's stages
_ALSO_OURS = 'patch_embed.proj.weight'


class MIRAGEArchitecture(Architecture[MIRAGEArch]):
    """What spandrel has to know of the network: how its weights are recognised, and how it is built from them."""

    def __init__(self) -> None:
        super().__init__(id='MIRAGE', name='MIRAGE', detect=_is_mirage)

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[MIRAGEArch]:
        """Builds the network of a state dict, without the heads that only training uses.

        Raises:
            CheckpointError: The tensors do not fit one network.
        """
        state = convert_released_state_dict(_tensors(state_dict))
        net = MIRAGEArch(**{**infer_arguments(state), 'spd_head': False})
        load_into(net, state)
        channels = net.patch_embed.proj.in_channels
        width = net.patch_embed.proj.out_channels
        return ImageModelDescriptor(
            net,
            net.state_dict(),
            self,
            purpose='Restoration',
            tags=[f'{width}dim'],
            supports_half=True,
            supports_bfloat16=True,
            scale=1,
            input_channels=channels,
            output_channels=channels,
            size_requirements=SizeRequirements(),
            tiling=ModelTiling.DISCOURAGED,
        )  # its statistics are those of the whole image


def install() -> None:
    """Makes the network known to spandrel, before or after spandrel_extra_arches; again, it changes nothing."""
    support = ArchSupport.from_architecture(MIRAGEArchitecture(), before=('Restormer',))
    MAIN_REGISTRY.add(support, ignore_duplicates=True)


def _tensors(state_dict: StateDict) -> dict[str, Tensor]:
    return {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}


def _is_mirage(state_dict: Mapping[str, object]) -> bool:
    return all(any(name.endswith(ours) for name in state_dict) for ours in (_OURS_ALONE, _ALSO_OURS))
