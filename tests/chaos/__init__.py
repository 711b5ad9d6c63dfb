"""The chaos soak: many people want platforms while everything around the engine dies again and again.

    python -m tests.chaos --requests 500 --seed 7
    python -m tests.chaos --requests 100 --without-fencing      # has to show what fencing is for

A rehearsed site (deploy/rehearsal) with real PostgreSQL, Redis, slapd, workers and beat; hosts and edge are fakes in folders.
`people` asks, decides and chooses as users and administrators do, through the use cases; `disturber` kills and freezes;
`verdict` looks at the world and the books when all is over; `effects` knows which worker did what, and when.
"""
