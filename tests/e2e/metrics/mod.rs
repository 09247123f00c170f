//! Metrics as a scraper gets them: those that are listed, no others, and with the values of what happens.

mod listed;
mod scrape;
mod states;
