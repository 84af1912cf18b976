"""The sweeps that ship with relusweep; `relusweep run NAME` finds them here."""
