import time

import pytest

from mirage_data.files import plain_yaml
from mirage_data.files.plain_yaml import YamlError

BOMB = 'a0: &a0 [x, x]\n' + ''.join(f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 8)}]\n' for n in range(1, 12))


def test_plain_values_are_read():
    text = 'a: 1\nb: [1.5, yes, ~, text]\nc: &c {d: 2020-01-02}\ne: *c\nf: !!python/tuple [1, 2]\n'
    found = plain_yaml.load(text)
    assert found['b'] == [1.5, True, None, 'text'] and found['f'] == (1, 2)
    assert found['e'] == found['c'] and found['c']['d'].year == 2020
    assert plain_yaml.load('') is None


@pytest.mark.parametrize(
    ('text', 'words', 'line'),
    [
        (BOMB, 'aliases unfold to more than 100,000 values', 6),
        ('x: 1\na: &a [*a]\n', 'contains itself', 2),
        ('a: ' + '[' * 5000, 'nested deeper than 50', 1),
        ('a: ' + '[' * 60 + ']' * 60, 'nested deeper than 50', 1),
        ('x: 1\nscale: !!int x\n', "int 'x' cannot be read", 2),
        ('x: 1\nd: !!timestamp 2020-99-99\n', "timestamp '2020-99-99' cannot be read", 2),
        ('d: 2020-99-99\n', "'2020-99-99' cannot be read", 1),
        ('n: ' + '9' * 5000, 'cannot be read', 1),
        ('x: 1\na: !foo\n', 'could not determine a constructor', 2),
        ('a: !!omap [a]\n', 'expected a mapping', 1),
        ('x: 1\n? [a]\n: 2\n', 'found unhashable key', 2),
        ('a: ' + 'x' * 1_000_000, 'at most 1,000,000', 0),
        ('a: b: c\n', 'mapping values are not allowed', 1),
        ('a: "\\x"\n', 'expected escape sequence', 1),
        ('a: \x00\n', 'special characters are not allowed', 0),
        ('z: !!python/object/apply:os.system ["true"]\n', 'could not determine a constructor', 1),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(text, words, line):
    start = time.perf_counter()
    with pytest.raises(YamlError, match=words) as error:
        plain_yaml.load(text, 'file.yml')
    assert error.value.line == line and str(error.value).startswith('file.yml')
    assert time.perf_counter() - start < 5


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / 'a.yml').write_bytes(b'a: \xff\xfe\n')
    with pytest.raises(YamlError, match=r'a\.yml: not valid YAML: no UTF-8 text'):
        plain_yaml.load_file(tmp_path / 'a.yml')
