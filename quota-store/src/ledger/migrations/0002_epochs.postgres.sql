-- Which epoch the counters of each partition should have in a store that may lose them: 16
-- hexadecimal digits. A store with another one has lost data.
CREATE TABLE epochs (
    partition_number BIGINT NOT NULL PRIMARY KEY,
    epoch TEXT COLLATE "C" NOT NULL
);
