"""Recipes: shares, order, records, and what is refused."""

import numpy as np
import pytest
from made_up_scene import scene, seeded

from mirage_data.degradations import apply, degrade, draw, parse_recipe


def test_recipe_shares_and_physical_order():
    recipe = parse_recipe(
        [
            {'degradation': 'rain', 'weight': 3},
            {'degradation': ['jpeg', 'gaussian_noise', 'haze'], 'jpeg': {'quality': 30, 'probability': 0.5}},
        ]
    )
    records = [degrade(scene(16, 16), recipe, seeded(seed))[1] for seed in range(300)]
    several = [record for record in records if record['task'] != 'derain']
    assert len(several) == pytest.approx(75, abs=25)
    chains = {tuple(step['degradation'] for step in record['steps']) for record in several}
    assert chains == {('haze', 'gaussian_noise', 'jpeg'), ('haze', 'gaussian_noise')}
    assert {step['quality'] for record in several for step in record['steps'] if 'quality' in step} == {30}
    assert several[0]['task'] == 'dehaze_denoise_dejpeg'
    given = parse_recipe({'degradation': ['jpeg', 'haze'], 'order': 'given', 'task': 'old'})
    record = degrade(scene(16, 16), given, seeded())[1]
    assert [step['degradation'] for step in record['steps']] == ['jpeg', 'haze'] and record['task'] == 'old'


def test_a_record_repeats_its_image():
    recipe = [{'degradation': 'gaussian_noise', 'sigma': [5, 55]}]
    lq, record = degrade(scene(), recipe, seeded(8))
    step = dict(record['steps'][0])
    rng = seeded(8)
    rng.random(1 + len(step) - 1)  # the entry and the parameters
    np.testing.assert_array_equal(apply(step.pop('degradation'), scene(), step, rng), lq)


def test_narrowing_a_range_leaves_the_other_parameters_alone():
    free, narrowed = draw('rain', seeded(1)), draw('rain', seeded(1), {'length': 20})
    assert narrowed['length'] == 20
    assert {k: v for k, v in free.items() if k != 'length'} == {k: v for k, v in narrowed.items() if k != 'length'}


def test_a_group_stands_for_its_rows():
    recipe = parse_recipe([{'degradation': 'cdd11', 'weight': 11, 'beta': [1.5, 1.6]}, {'degradation': 'clean'}])
    assert [entry.task for entry in recipe.entries[:4]] == ['low', 'haze', 'rain', 'snow']
    assert len(recipe.entries) == 12 and all(entry.weight == 1 for entry in recipe.entries)
    assert recipe.entries[1].members[0].ranges == {'beta': [1.5, 1.6]} and not recipe.entries[0].members[0].ranges


@pytest.mark.parametrize(
    ('recipe', 'message'),
    [
        ([], 'recipe must be a list'),
        ('rain', 'recipe must be a list'),
        ([{'sigma': 3}], r'recipe\[0\].*key degradation'),
        ([{'degradation': [['rain']]}], 'name or a list of names'),
        ([{'degradation': ['cdd11', 'jpeg']}], 'cdd11 stands for several rows'),
        ([{'degradation': 'fog'}], 'unknown degradation .fog.; known are .*haze'),
        ([{'degradation': 'rain', 'strength': 1}], "rain: unknown parameter 'strength'; allowed are angle"),
        ([{'degradation': 'gaussian_noise', 'sigma': 'strong'}], 'number or .low, high., found .strong.'),
        ([{'degradation': 'gaussian_noise', 'sigma': [50, 5]}], 'low <= high'),
        ([{'degradation': 'jpeg', 'quality': [0, 50]}], r'quality must lie in \[1, 100\]'),
        ([{'degradation': ['rain', 'rain']}], 'may occur once'),
        ([{'degradation': ['rain', 'haze'], 'beta': 1}], r"unknown key 'beta'; allowed are .*rain, haze"),
        ([{'degradation': 'rain', 'weight': -1}], 'weight must be a number >= 0'),
        ([{'degradation': 'cdd11', 'weight': 'much'}], "weight must be a number >= 0, found 'much'"),
        ([{'degradation': 'rain', 'weight': 0}], 'at least one weight'),
        ([{'degradation': 'rain', 'weight': 1, 'probability': 1}], 'not both'),
        ([{'degradation': ['rain', 'jpeg'], 'jpeg': {'probability': 2}}], r'probability of jpeg must lie in \[0, 1\]'),
        ([{'degradation': 'rain', 'order': 'random'}], 'order must be one of physical, given'),
    ],
)
def test_faulty_recipes_are_refused_by_name(recipe, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(recipe)


def test_apply_wants_exactly_the_row_s_parameters():
    with pytest.raises(ValueError, match='gaussian_noise: the parameters are sigma; found none'):
        apply('gaussian_noise', scene(), {}, seeded())
