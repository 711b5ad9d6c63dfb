"""The same tests for every driver of a contract: fakes and real ones alike."""
