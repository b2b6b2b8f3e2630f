"""Errors that a user can act on: each names the value, the rule and the fix."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input, found before any long work; the message says what is wrong and what to do."""


class Cancelled(Exception):
    """The caller asked to stop; nothing was written."""
