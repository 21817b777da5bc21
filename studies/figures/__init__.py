"""Figures of a study, a question each: `studies.plot` draws them all."""
