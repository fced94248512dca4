"""Preferences in groups: planted ones are found, each group trains on its mean, and reassignment pays."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from matplotlib.figure import Figure

from gradex import MetaPolicy, PolicyGradEx, PreferenceGrouping, TaskSuite
from gradex.preference_drawing import draw_preferences

pytest.importorskip("mo_gymnasium")

SMALL = {"steps_per_task": 1024, "meta_steps": 8_000, "snapshots": 3, "bootstrap": 4}


def treasures(**options: object) -> TaskSuite:
    return TaskSuite.make("mo-deep-sea-treasure", **{"scale": [20.0, 15.0], "horizon": 30, **options})


def squared_treasure() -> gymnasium.Env:
    """Deep-sea treasure that also pays the square of the treasure."""
    from mo_gymnasium.envs.deep_sea_treasure.deep_sea_treasure import DeepSeaTreasure

    class Squared(DeepSeaTreasure):
        objectives = ("treasure", "time", "squared treasure")
        reward_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))

        def __init__(self) -> None:
            super().__init__()
            self.reward_space = type(self).reward_space

        def step(self, action: int) -> tuple:
            seen, (treasure, time), *rest = super().step(action)
            return seen, np.array([treasure, time, treasure**2], dtype=np.float32), *rest

    return Squared()


@pytest.fixture(scope="module")
def fitted() -> PreferenceGrouping:
    settings = {**SMALL, "meta_steps": 20_000}
    return PreferenceGrouping(k=2, group_steps=20_000, **settings).fit(treasures(n=200, seed=0))


@pytest.fixture(scope="module")
def meta(fitted: PreferenceGrouping) -> MetaPolicy:
    return fitted.meta_


def test_planted_groups_of_preferences_are_found(meta: MetaPolicy) -> None:
    suite = treasures(n=60, groups=3, seed=0)
    grouping = PreferenceGrouping(k=3, group_steps=0, **SMALL).fit(suite, meta=meta.on(suite))
    assert grouping.partition_.agreement(suite.labels).nmi == 1.0
    assert grouping.verdict_ is not None
    assert grouping.verdict_.startswith("stable")
    assert grouping.p_value_ < 0.01


def test_transfers_find_them_too(meta: MetaPolicy) -> None:
    suite = treasures(n=30, groups=2, seed=1)
    grouping = PreferenceGrouping(k=2, affinity="transfer", group_steps=0, **SMALL)
    grouping = grouping.fit(suite, meta=meta.on(suite))
    assert grouping.partition_.agreement(suite.labels).nmi == 1.0
    assert grouping.graph_.factors is None


def test_groups_earn_more_than_their_meta_policy_and_reassignment_is_never_worse(
    fitted: PreferenceGrouping,
) -> None:
    weights, values = fitted.suite_.weights, fitted.values(episodes=32)
    assert values.shape == (2, 2)
    assigned = (weights * values[fitted.labels_]).sum(axis=1)
    moved = fitted.reassigned(episodes=32)
    best = (weights * values[moved]).sum(axis=1)
    assert (best >= assigned).all()
    table = fitted.evaluate(episodes=32)
    means = table.groupby("policy").return_mean.mean()
    assert len(table) == 400
    assert means["group"] > means["meta"] + 0.05
    # A table by preference is the weighted sum of the values by objective, of other episodes.
    assert means["group"] == pytest.approx(assigned.mean(), abs=0.03)


def test_a_group_trains_on_its_mean_weights(fitted: PreferenceGrouping) -> None:
    """One round is the same as that of a single preference with these weights, up to rounding."""
    meta, suite, [group, other] = fitted.start_, fitted.suite_, fitted.groups_
    assert meta is fitted.meta_.path_[1]
    trained, _ = meta.adapt_each([group, other], steps=2)
    alone = meta.on(suite.with_weights([suite.weights[list(group)].mean(axis=0)])).adapt([0], steps=1)
    assert alone.steps == trained.steps == meta.steps + 1024
    assert np.abs(trained.parameters - meta.parameters).max() > 0.01
    np.testing.assert_allclose(alone.parameters, trained.parameters, atol=1e-3)
    assert trained.history_.task.unique().tolist() == [-1]
    assert alone.history_.task.unique().tolist() == [0]
    assert trained.lineage.subset == group
    assert set(trained.explained_variance.values()) == set(trained.history_.explained_variance)


def test_more_policies_cover_more(fitted: PreferenceGrouping) -> None:
    table = fitted.covered(k_max=5)
    assert table.k.tolist() == [1, 2, 3, 4, 5]
    assert table.share[0] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(table.share) > 0).all()
    assert table.share.iloc[-1] < 1


def test_as_many_groups_as_cover_most(fitted: PreferenceGrouping) -> None:
    chosen = PreferenceGrouping(group_steps=0, **{**SMALL, "bootstrap": 0}).fit(fitted.suite_, fitted.meta_)
    k = chosen.partition_.k
    share = chosen.covered(10).share
    assert 1 < k < 10
    assert share[k - 1] >= 0.8 > share[k - 2]
    assert chosen.report()["covered"] == pytest.approx(share[k - 1])
    chosen.p_value_ = 0.3
    assert chosen._chosen() == 1


def test_reassigned_by_utilities_that_are_not_linear(fitted: PreferenceGrouping) -> None:
    values, weights = fitted.values(episodes=4), fitted.suite_.weights
    linear = [lambda v, w=w: float(w @ v) for w in weights]
    np.testing.assert_array_equal(fitted.reassigned(4, linear), fitted.reassigned(4))
    first = [lambda v: float(v[0])] * 200
    assert (fitted.reassigned(4, first) == values[:, 0].argmax()).all()
    with pytest.raises(ValueError, match="3 utilities for 200 preferences: give one for each"):
        fitted.reassigned(4, linear[:3])


def test_tasks_may_be_any_function_of_the_rewards(fitted: PreferenceGrouping) -> None:
    """Functions of a step are objectives of an environment of one's own; the preferences are single ones."""
    gymnasium.register("squared-treasure-v0", squared_treasure, max_episode_steps=30)
    try:
        suite = TaskSuite.make("mo-squared-treasure-v0", weights=np.eye(3), scale=[20.0, 15.0, 400.0])
        assert suite.objectives == ("treasure", "time", "squared treasure")
        grouping = PreferenceGrouping(k=2, group_steps=0, **SMALL).fit(suite)
    finally:
        gymnasium.registry.pop("squared-treasure-v0")
    assert grouping.groups_ == ((0, 2), (1,))


def test_the_picture_has_a_corner_for_each_objective(fitted: PreferenceGrouping) -> None:
    ax = fitted.plot(Figure().subplots())
    assert ax.get_xlabel() == "weight of time"
    [dots] = ax.collections
    np.testing.assert_allclose(dots.get_offsets()[:, 0], fitted.suite_.weights[:, 1])
    np.testing.assert_array_equal(dots.get_offsets()[:, 1], fitted.labels_)
    weights = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]])
    names = ("up", "right", "left")
    ax = draw_preferences(weights, np.array([0, 1, 1, 0]), names, Figure().subplots())
    dots = ax.collections[-1]
    places = np.asarray(dots.get_offsets())
    np.testing.assert_allclose([text.xy for text in ax.texts], places[:3])
    np.testing.assert_allclose(places[3], 0, atol=1e-12)
    assert places[0] == pytest.approx([0, 1]) and places[1, 0] > 0 > places[2, 0]
    colours = dots.get_facecolors()
    assert (colours[0] == colours[3]).all() and (colours[1] == colours[2]).all()
    assert (colours[0] != colours[1]).any()


def test_where_gradients_may_be_noise_the_verdict_says_no_groups(fitted: PreferenceGrouping) -> None:
    """That noise is taken for noise is tested with the p-value itself."""
    grouping = PreferenceGrouping(k=2, group_steps=0, **SMALL).fit(fitted.suite_, meta=fitted.meta_)
    assert grouping.p_value_ < 0.05
    grouping.p_value_ = 0.3
    assert grouping.verdict_ == (
        "no groups: one policy for all, as gradients differ by no more than noise; do not rely on these 2"
    )


@pytest.mark.parametrize("affinity", ["kernel", "transfer"])
def test_preferences_that_are_all_the_same_are_one_group(fitted: PreferenceGrouping, affinity: str) -> None:
    suite = treasures(weights=[[0.3, 0.7]] * 4)
    settings = {"affinity": affinity, "group_steps": 0, **SMALL}
    found = PreferenceGrouping(**settings).fit(suite, meta=fitted.meta_.on(suite))
    assert found.groups_ == ((0, 1, 2, 3),) and found.p_value_ == 1
    assert str(found.verdict_).startswith("no groups: one policy for all")
    assert found.report()["covered"] is None
    with pytest.raises(ValueError, match=r"all 4 tasks have the same .* take k=1"):
        PreferenceGrouping(k=2, **settings).fit(suite, meta=found.meta_)


def test_a_policy_serves_other_preferences_and_no_other_objectives(fitted: PreferenceGrouping) -> None:
    meta = fitted.meta_
    other = treasures(n=3, seed=9)
    assert meta.on(other).path_[0].suite is other
    assert len(meta.on(other).evaluate(episodes=2)) == 3
    with pytest.raises(ValueError, match="knows the objectives of 'mo-deep-sea-treasure'"):
        meta.on(TaskSuite.make("mo-fruit-tree", n=3))
    seeing = MetaPolicy(other, network="one_hot_mlp", layers=2, width=8).fit(4_000)
    with pytest.raises(ValueError, match=r"'one_hot_mlp' network trained by 'ppo' .* its own tasks"):
        seeing.on(other)


def test_a_kept_policy_has_the_same_groups(fitted: PreferenceGrouping, tmp_path: Path) -> None:
    fitted.meta_.save(tmp_path / "meta.safetensors")
    meta = MetaPolicy.load(tmp_path / "meta.safetensors")
    again = PreferenceGrouping(k=2, group_steps=0, **SMALL).fit(fitted.suite_, meta=meta)
    np.testing.assert_array_equal(again.labels_, fitted.labels_)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k is 0 for 200 preferences: choose 1 to 200, or 'auto'"),
        ({"k": "many"}, "k is 'many' for 200 preferences: choose 1 to 200, or 'auto'"),
        ({"k": 201}, "k is 201 for 200 preferences: choose 1 to 200"),
        ({"k": 2, "affinity": "mean"}, "affinity is 'mean': choose 'kernel' or 'transfer'"),
        ({"k": 2, "snapshots": 0}, "snapshots=0 is too small: give at least 1"),
        ({"k": 2, "steps_per_task": 15}, "steps_per_task=15 is too small for 8 snapshots: give at least 16"),
        ({"k": 2, "group_steps": -1}, "group_steps=-1 is too small: give at least 0"),
        ({"k": 2, "bootstrap": 1}, "bootstrap=1 is too small"),
        ({"k": 2, "learner": "maml"}, "learner 'maml' does not train on mean weights: choose 'ppo'"),
    ],
)
def test_refuses_settings_before_any_training(
    fitted: PreferenceGrouping, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PreferenceGrouping(**settings).fit(fitted.suite_)


def test_refuses_tasks_that_are_no_preferences_and_comparisons_that_take_hours(
    fitted: PreferenceGrouping, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="one preference makes no groups: give at least 2, or train a MetaP"):
        PreferenceGrouping().check(treasures(n=1, seed=0))
    with pytest.raises(ValueError, match="'cartpole' are no preferences over objectives: group them by Pol"):
        PreferenceGrouping(k=2).fit(TaskSuite.make("cartpole", n=4))
    with pytest.raises(
        ValueError, match=r"201 preferences have too many pairs for subsets: take PreferenceGrouping"
    ):
        PolicyGradEx().check(treasures(n=201))
    with pytest.raises(ValueError, match="trains a policy for each of 200 preferences: compare on a suite"):
        fitted.evaluate(compare=True)
    with pytest.raises(ValueError, match=r"the suite has task '.*' twice: leave it out"):
        PreferenceGrouping(k=2).check(fitted.suite_[[0, 0, 1]])
    monkeypatch.setattr(TaskSuite, "objectives", ("treasure",))
    with pytest.raises(ValueError, match="has one objective, so that all preferences are the same"):
        PreferenceGrouping(k=2).check(fitted.suite_)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="group_steps=0 trains no policies to run"):
        PreferenceGrouping(k=2, group_steps=0, **SMALL).fit(fitted.suite_, meta=fitted.meta_).values()
