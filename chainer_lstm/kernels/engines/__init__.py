"""Engines, which compute cells: their protocol, one file for each, and the choice among them."""
