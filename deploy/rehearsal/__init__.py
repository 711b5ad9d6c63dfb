"""A rehearsal: a whole site in one short folder, for soaks, benchmarks and tests that need real processes.

PostgreSQL, Redis, slapd (if wanted) and any number of Celery workers are real and private to the folder; hypervisors, edge,
certificate authority, images and prober are the fakes, which all of these processes share (`stage`). Nothing listens
anywhere but on UNIX sockets (slapd on loopback as well), and nothing survives the process that started it (`guardian`).

    with site.rehearsal(site.Shape(hosts=("h1", "h2"), workers=3)) as made:
        ...                      # this process is a portal now: Django is set up, use cases may be called
"""
