"""Use cases: one verb a function, keyword-only, `acting_user` named, one transaction each."""
