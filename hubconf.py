"""For ``torch.hub.load('owner/repository', 'mirage_mini', pretrained=True)``: the networks, uninstalled.

Those with weights are `mirage_mini` and `mirage_nano`, whose weights come with the package.
"""

dependencies = ['torch', 'numpy', 'safetensors']


def mirage_mini(pretrained: bool = False, **arguments):
    """The network that restores unless another is named: twice the blocks of `mirage_nano`.

    Args:
        pretrained: Load its weights for all tasks.
        **arguments: Of `mirage_arch.MIRAGEArch`; not beside ``pretrained``, whose weights decide.

    Returns:
        The network, in evaluation mode if it is trained.
    """
    return _built('mini', pretrained, arguments)


def mirage_nano(pretrained: bool | str = False, **arguments):
    """The smallest network.

    Args:
        pretrained: Load its weights for all tasks (True), or those for one task, such as 'denoise'.
        **arguments: Of `mirage_arch.MIRAGEArch`; not beside ``pretrained``, whose weights decide.

    Returns:
        The network, in evaluation mode if it is trained.
    """
    return _built('nano', pretrained, arguments)


def mirage_tiny(**arguments):
    """MIRAGE-T, untrained. Arguments of `mirage_arch.MIRAGEArch`."""
    return _built('tiny', False, arguments)


def mirage_small(**arguments):
    """MIRAGE-S, untrained. Arguments of `mirage_arch.MIRAGEArch`."""
    return _built('small', False, arguments)


def _built(name, pretrained, arguments):
    import mirage_arch

    build = getattr(mirage_arch, f'mirage_{name}')
    if not pretrained:
        return build(**arguments)
    if arguments:
        raise ValueError(f'pretrained={pretrained!r} takes no arguments of the network, got {", ".join(arguments)}')
    from mirage_arch.checkpoints import load_network
    from mirage_restore.bundled import bundled_weights

    network = load_network(bundled_weights(name if pretrained is True else str(pretrained)), spd_head=False)
    blocks = len(build(spd_head=False).latent)
    if len(network.latent) != blocks:
        raise ValueError(f'pretrained={pretrained!r}: these weights are not those of a mirage_{name}')
    return network
