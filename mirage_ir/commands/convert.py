"""Convert a MIRAGE checkpoint (the authors' .ckpt, BasicSR's .pth, .safetensors) to .pth or .safetensors.

    mirage-basicsr convert mirage_tiny.ckpt mirage_tiny.safetensors

Optimizer and loop state are left out.
"""

from pathlib import Path

from mirage_arch.checkpoints import (
    CheckpointError,
    infer_arguments,
    load_into,
    load_weights,
    read_notes,
    save_weights,
)
from mirage_arch.mirage_arch import MIRAGEArch

from . import command_parser, existing, failed, print_json, refuse_over


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('convert', __doc__, as_json='what was written')
    parser.add_argument('input', type=existing, help='file to read')
    parser.add_argument('output', type=Path, help='file to write, .pth or .safetensors')
    parser.add_argument('--key', help='entry of the file (default: params_ema, params, state_dict or the file itself)')
    parser.add_argument('--no-head', action='store_true', help='leave out the SPD heads, which only training needs')
    parser.add_argument('--half', action='store_true', help='store floating-point tensors as float16')
    parser.add_argument('--allow-pickle', action='store_true', help='unpickle objects; only for files you trust')
    args = parser.parse_args(argv)
    if args.output.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{args.output}: give a name that ends in .pth or .safetensors')
    refuse_over(parser, args.output, args.input)
    try:
        state_dict = load_weights(args.input, key=args.key, allow_pickle=args.allow_pickle)
        try:
            arguments = infer_arguments(state_dict)
        except CheckpointError as error:
            return failed(f'{args.input}: {error}')
        if args.no_head:
            arguments['spd_head'] = False
        net = MIRAGEArch(**arguments)
        load_into(net, state_dict, str(args.input))
        tensors = {
            name: tensor.half() if args.half and tensor.is_floating_point() else tensor
            for name, tensor in net.state_dict().items()
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        save_weights(tensors, args.output, read_notes(args.input))
    except (ValueError, OSError) as error:
        return failed(error)
    parameters = sum(p.numel() for p in net.parameters())
    if args.json:
        made = {'file': args.output, 'tensors': len(tensors), 'parameters': parameters, 'arguments': arguments}
        print_json(made)
    else:
        print(f'{args.output}: {len(tensors)} tensors, {parameters:,} parameters, {arguments}')
    return 0
