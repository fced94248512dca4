"""A progress bar in environment steps, the same for every learner."""

from tqdm.auto import tqdm


def steps_bar(total: int, description: str | None) -> tqdm:
    """Draw a bar of environment steps.

    Parameters
    ----------
    total : int
    description : str, optional
        None draws no bar.
    """
    return tqdm(
        total=total,
        desc=description,
        unit=" steps",
        unit_scale=True,
        leave=False,
        # Passing False would overrule a user who has turned bars off.
        **({"disable": True} if description is None else {}),
    )
