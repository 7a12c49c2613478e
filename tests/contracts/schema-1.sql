BEGIN TRANSACTION;
CREATE TABLE artifacts (
	job VARCHAR(32) NOT NULL, 
	"key" VARCHAR(100) NOT NULL, 
	position INTEGER NOT NULL, 
	media_type VARCHAR(128) NOT NULL, 
	tensor BLOB NOT NULL, 
	byte_count BIGINT NOT NULL, 
	crc32c BIGINT NOT NULL, 
	is_file BOOLEAN NOT NULL, 
	file VARCHAR(256) NOT NULL, 
	PRIMARY KEY (job, "key")
);
INSERT INTO "artifacts" VALUES('842f5ad9c09f34f8e32b6f194b4b0179','labels',0,'application/x-npy',X'',16,9,0,'842f5ad9c09f34f8e32b6f194b4b0179/1/labels.npy');
CREATE TABLE counters (
	name VARCHAR(32) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "counters" VALUES('jobs',6);
CREATE TABLE datasets (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR(32) NOT NULL, 
	owner VARCHAR(256) NOT NULL, 
	display_name VARCHAR(512) NOT NULL, 
	kind INTEGER NOT NULL, 
	content BLOB NOT NULL, 
	file VARCHAR(64) NOT NULL, 
	row_count BIGINT NOT NULL, 
	byte_count BIGINT NOT NULL, 
	crc32c BIGINT NOT NULL, 
	created FLOAT NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "datasets" VALUES(1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','ann','rows',1,X'2A06080212020402','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.npy',4,32,7,1.79560210943482279782e+09);
CREATE TABLE jobs (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR(32) NOT NULL, 
	owner VARCHAR(256) NOT NULL, 
	request_id VARCHAR(128), 
	spec_digest VARCHAR(64) NOT NULL, 
	display_name VARCHAR(512) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	spec BLOB NOT NULL, 
	inputs TEXT NOT NULL, 
	state INTEGER NOT NULL, 
	cancel_requested FLOAT, 
	progress BLOB NOT NULL, 
	attempt INTEGER NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	sequence BIGINT NOT NULL, 
	server VARCHAR(64), 
	worker VARCHAR(64), 
	lease_until FLOAT, 
	error BLOB, 
	metrics TEXT NOT NULL, 
	notes TEXT NOT NULL, 
	created FLOAT NOT NULL, 
	started FLOAT, 
	ended FLOAT, 
	UNIQUE (owner, request_id), 
	UNIQUE (id)
);
INSERT INTO "jobs" VALUES(1,'842f5ad9c09f34f8e32b6f194b4b0179','ann','q1','0e65c99bc4177dabc1923001cc81c54003ef0b3adc8d23346c6115524e9ef746','first','kmeans',X'0A2F0A2964617461736574732F616161616161616161616161616161616161616161616161616161616161616112020802','datasets/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',3,NULL,X'',1,3,3,NULL,NULL,NULL,NULL,'{"inertia": 1.5}','{"backend": "numba"}',1.79560210944564056399e+09,1.79560210945078659061e+09,1.79560210945882153506e+09);
INSERT INTO "jobs" VALUES(2,'84ba8ed37acef1e8ad296a31767ca6d0','ann','q2','0e65c99bc4177dabc1923001cc81c54003ef0b3adc8d23346c6115524e9ef746','second','kmeans',X'0A2F0A2964617461736574732F616161616161616161616161616161616161616161616161616161616161616112020802','',2,NULL,X'',1,3,6,'s','w2',1.79560213947473430633e+09,NULL,'{}','{}',1.79560210946785902977e+09,1.79560210947473430638e+09,NULL);
INSERT INTO "jobs" VALUES(3,'edd3747c8ae1356ac01fcfcfc7410abf','bob','q3','0e65c99bc4177dabc1923001cc81c54003ef0b3adc8d23346c6115524e9ef746','third','kmeans',X'0A2F0A2964617461736574732F616161616161616161616161616161616161616161616161616161616161616112020802','',1,NULL,X'',0,3,5,NULL,NULL,NULL,NULL,'{}','{}',1.79560210947150182721e+09,NULL,NULL);
CREATE TABLE schema_version (
	version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE uploads (
	id VARCHAR(32) NOT NULL, 
	owner VARCHAR(256) NOT NULL, 
	request_id VARCHAR(128), 
	request_digest VARCHAR(64) NOT NULL, 
	display_name VARCHAR(512) NOT NULL, 
	kind INTEGER NOT NULL, 
	content BLOB NOT NULL, 
	file VARCHAR(64) NOT NULL, 
	head_bytes INTEGER NOT NULL, 
	byte_count BIGINT NOT NULL, 
	persisted_bytes BIGINT NOT NULL, 
	dataset VARCHAR(32), 
	created FLOAT NOT NULL, 
	expires FLOAT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (owner, request_id)
);
INSERT INTO "uploads" VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','ann','r1','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','rows',1,X'2A06080212020402','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.npy',128,32,32,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1700000000.0,4000000000.0);
INSERT INTO "uploads" VALUES('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','bob',NULL,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','half',1,X'2A06080212020402','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.npy',128,32,16,NULL,1700000000.0,4000000000.0);
CREATE INDEX ix_datasets_owner ON datasets (owner);
CREATE INDEX ix_jobs_owner ON jobs (owner);
CREATE INDEX jobs_queue ON jobs (state, number);
CREATE INDEX ix_jobs_sequence ON jobs (sequence);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('datasets',1);
INSERT INTO "sqlite_sequence" VALUES('jobs',3);
COMMIT;
