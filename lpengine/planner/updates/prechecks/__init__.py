"""Prechecks: what has to hold before anything changes, and what can be done about it
where it does not. The groups and their order are XenCenter's."""
