"""What the controller computes from the site description: typed, pure, without Ansible."""
