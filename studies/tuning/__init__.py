"""Tuning: as many trials for every row, on seeds that are not reported, and how many seeds a claim needs."""
