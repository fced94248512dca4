"""Objectives that prefer answers of a language model: which of them can share an adapter."""

from gradex.preferences.answers import Answers
from gradex.preferences.direct import DirectPreferences
from gradex.preferences.grouping import DPOGrouping
from gradex.preferences.language_model import answer_log_prob
from gradex.preferences.pairs import PreferencePairs

__all__ = ["Answers", "DPOGrouping", "DirectPreferences", "PreferencePairs", "answer_log_prob"]
