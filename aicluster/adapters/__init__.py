"""What actions of Ansible share on the way to the package: only here the package knows Ansible."""
