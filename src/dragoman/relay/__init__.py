"""The middle: decides who may ask, who answers and what a failure means; knows words only."""
