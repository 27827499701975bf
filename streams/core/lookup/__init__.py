"""What is known of items and users, outside of any list: what is similar to an item, what a user did."""
