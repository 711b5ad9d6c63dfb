"""The project's figures, measured on a running lab: provisioning, resident memory, approval to ready."""
