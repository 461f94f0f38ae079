"""The node's parameters: values, what is known of each, how ROS sets them."""
