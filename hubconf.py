"""For ``torch.hub.load('owner/repository', 'mirage_nano', pretrained=True)``: the networks, uninstalled.

The one with weights is `mirage_nano`, whose weights come with the package.
"""

dependencies = ['torch', 'numpy', 'safetensors']


def mirage_nano(pretrained: bool | str = False, **arguments):
    """The small network that comes with the package.

    Args:
        pretrained: Load its weights for all tasks (True), or those of another model in the package, such as 'denoise'.
        **arguments: Of `mirage_arch.MIRAGEArch`; not beside ``pretrained``, whose weights decide.

    Returns:
        The network, in evaluation mode if it is trained.
    """
    from mirage_arch import mirage_nano as build

    if not pretrained:
        return build(**arguments)
    if arguments:
        raise ValueError(f'pretrained=True takes no arguments of the network, got {", ".join(arguments)}')
    from mirage_arch.checkpoints import load_network
    from mirage_restore.bundled import bundled_weights

    weights = bundled_weights() if pretrained is True else bundled_weights(str(pretrained))
    return load_network(weights, spd_head=False)


def mirage_tiny(**arguments):
    """MIRAGE-T, untrained. Arguments of `mirage_arch.MIRAGEArch`."""
    from mirage_arch import mirage_tiny as build

    return build(**arguments)


def mirage_small(**arguments):
    """MIRAGE-S, untrained. Arguments of `mirage_arch.MIRAGEArch`."""
    from mirage_arch import mirage_small as build

    return build(**arguments)
