"""What our objects share with scikit-learn's: settings that are told, and no result before a fit."""

from copy import copy
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeVar

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from gradex.settings import plain

Same = TypeVar("Same", bound="Estimator")


class Fitted:
    """Something with results that are there after a fit, and says so before.

    `hasattr` and `copy` work as if results were plain attributes: the error is an AttributeError too.
    """

    #: What fills the results in.
    _fitting: ClassVar[str]
    #: Attributes that are there afterwards; properties that need them come by themselves.
    _results: ClassVar[tuple[str, ...]]

    def _not_fitted(self) -> NotFittedError:
        return NotFittedError(f"this {type(self).__name__} is not fitted: call {self._fitting} first")

    def _is_fitted(self) -> bool:
        return all(name in vars(self) for name in self._results)

    if not TYPE_CHECKING:  # or type checkers would take every name for an attribute

        def __getattr__(self, name: str) -> NoReturn:
            owner = type(self)
            result = name in owner._results or isinstance(getattr(owner, name, None), property)
            if result and not self._is_fitted():
                raise self._not_fitted()
            raise AttributeError(f"{owner.__name__!r} object has no attribute {name!r}")


class Estimator(Fitted, BaseEstimator):
    """A scikit-learn estimator: `get_params`, `set_params`, `sklearn.base.clone`, and a repr with settings.

    `__init__` keeps its settings as they were given, as scikit-learn asks; work is done with `_plain`.
    """

    def _plain(self: Same) -> Same:
        """Give a copy whose settings are plain Python values.

        Raises
        ------
        TypeError, ValueError
            Naming a setting that cannot be.
        """
        other = copy(self)
        for name, value in plain(type(self), self.get_params(deep=False)).items():
            setattr(other, name, value)
        other._check()
        return other

    def _check(self) -> None:
        """Refuse plain settings that cannot be."""
