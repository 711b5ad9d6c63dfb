"""A whole PLACO site on one machine: `python -m deploy.lab up|down|status|logs|adopt|restart|destroy`.

Everything real (PostgreSQL, Redis, slapd, nginx, libvirt, the portal) runs in network namespaces of its own under
one supervisord, and touches nothing of the machine's own network, databases, directory or libvirt.
"""
