"""The landing zone: markers, their formats and the files that they vouch for."""
