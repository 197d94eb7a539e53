BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE events (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	event_id VARCHAR(64) NOT NULL, 
	pipeline_id VARCHAR(36) NOT NULL, 
	update_id VARCHAR(36), 
	timestamp BIGINT NOT NULL, 
	event_type VARCHAR(64) NOT NULL, 
	level VARCHAR(16) NOT NULL, 
	body JSON NOT NULL, 
	FOREIGN KEY(pipeline_id) REFERENCES pipelines (pipeline_id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES(1,'7d6ba68a-c4aa-4ef9-ac89-accaf970c3b4','298c9d1b-4049-4a7a-8be1-2044987b3a51',NULL,1767225600000,'user_action','INFO','{"id": "7d6ba68a-c4aa-4ef9-ac89-accaf970c3b4", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51", "pipeline_name": "daily"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "User me created the pipeline.", "level": "INFO", "event_type": "user_action", "maturity_level": "STABLE", "details": {"user_action": {"action": "CREATE", "user_name": "me"}}}');
INSERT INTO "events" VALUES(2,'e61425fb-db4d-4082-a94f-54302610b206','ae3950c8-e526-4865-9116-875ea91319bb',NULL,1767225600000,'user_action','INFO','{"id": "e61425fb-db4d-4082-a94f-54302610b206", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "ae3950c8-e526-4865-9116-875ea91319bb", "pipeline_name": "stream"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "User me created the pipeline.", "level": "INFO", "event_type": "user_action", "maturity_level": "STABLE", "details": {"user_action": {"action": "CREATE", "user_name": "me"}}}');
INSERT INTO "events" VALUES(3,'1d110214-3b04-4b4e-8b16-3896e0190eb1','ae3950c8-e526-4865-9116-875ea91319bb','d29bca3f-a61e-4b21-9162-d00a11573a5a',1767225600000,'create_update','INFO','{"id": "1d110214-3b04-4b4e-8b16-3896e0190eb1", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "ae3950c8-e526-4865-9116-875ea91319bb", "pipeline_name": "stream", "update_id": "d29bca3f-a61e-4b21-9162-d00a11573a5a"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update d29bca started by USER_ACTION.", "level": "INFO", "event_type": "create_update", "maturity_level": "STABLE", "details": {"create_update": {"cause": "USER_ACTION"}}}');
INSERT INTO "events" VALUES(4,'d9b28e43-823b-4788-8d7f-8a2367c72208','ae3950c8-e526-4865-9116-875ea91319bb','d29bca3f-a61e-4b21-9162-d00a11573a5a',1767225600000,'update_progress','INFO','{"id": "d9b28e43-823b-4788-8d7f-8a2367c72208", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "ae3950c8-e526-4865-9116-875ea91319bb", "pipeline_name": "stream", "update_id": "d29bca3f-a61e-4b21-9162-d00a11573a5a"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update d29bca is QUEUED.", "level": "INFO", "event_type": "update_progress", "maturity_level": "STABLE", "details": {"update_progress": {"state": "QUEUED"}}}');
INSERT INTO "events" VALUES(5,'4ee34c72-e282-47d8-8c69-13ab08617dfc','298c9d1b-4049-4a7a-8be1-2044987b3a51','3e356327-d701-4b96-83f8-c4ced4cab86e',1767225600000,'create_update','INFO','{"id": "4ee34c72-e282-47d8-8c69-13ab08617dfc", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51", "pipeline_name": "daily", "update_id": "3e356327-d701-4b96-83f8-c4ced4cab86e"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update 3e3563 started by JOB_TASK.", "level": "INFO", "event_type": "create_update", "maturity_level": "STABLE", "details": {"create_update": {"cause": "JOB_TASK"}}}');
INSERT INTO "events" VALUES(6,'a5013849-4f9e-41ca-8b62-cb07c2330991','298c9d1b-4049-4a7a-8be1-2044987b3a51','3e356327-d701-4b96-83f8-c4ced4cab86e',1767225600000,'update_progress','INFO','{"id": "a5013849-4f9e-41ca-8b62-cb07c2330991", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51", "pipeline_name": "daily", "update_id": "3e356327-d701-4b96-83f8-c4ced4cab86e"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update 3e3563 is QUEUED.", "level": "INFO", "event_type": "update_progress", "maturity_level": "STABLE", "details": {"update_progress": {"state": "QUEUED"}}}');
INSERT INTO "events" VALUES(7,'efc9f411-8b16-4841-ac38-64f76558068d','ae3950c8-e526-4865-9116-875ea91319bb','d29bca3f-a61e-4b21-9162-d00a11573a5a',1767225600000,'update_progress','INFO','{"id": "efc9f411-8b16-4841-ac38-64f76558068d", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "ae3950c8-e526-4865-9116-875ea91319bb", "pipeline_name": "stream", "update_id": "d29bca3f-a61e-4b21-9162-d00a11573a5a"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update d29bca is INITIALIZING.", "level": "INFO", "event_type": "update_progress", "maturity_level": "STABLE", "details": {"update_progress": {"state": "INITIALIZING"}}}');
INSERT INTO "events" VALUES(8,'2ed833f2-f9d8-471e-9d92-f3409d671705','298c9d1b-4049-4a7a-8be1-2044987b3a51','3e356327-d701-4b96-83f8-c4ced4cab86e',1767225600000,'update_progress','INFO','{"id": "2ed833f2-f9d8-471e-9d92-f3409d671705", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51", "pipeline_name": "daily", "update_id": "3e356327-d701-4b96-83f8-c4ced4cab86e"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update 3e3563 is INITIALIZING.", "level": "INFO", "event_type": "update_progress", "maturity_level": "STABLE", "details": {"update_progress": {"state": "INITIALIZING"}}}');
INSERT INTO "events" VALUES(9,'2611964d-f9a4-4d39-a635-857698cae5f5','298c9d1b-4049-4a7a-8be1-2044987b3a51','3e356327-d701-4b96-83f8-c4ced4cab86e',1767225600000,'update_progress','INFO','{"id": "2611964d-f9a4-4d39-a635-857698cae5f5", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51", "pipeline_name": "daily", "update_id": "3e356327-d701-4b96-83f8-c4ced4cab86e"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update 3e3563 is RUNNING.", "level": "INFO", "event_type": "update_progress", "maturity_level": "STABLE", "details": {"update_progress": {"state": "RUNNING"}}}');
INSERT INTO "events" VALUES(10,'51224e02-31ca-4f18-a4b2-bdee87db603e','298c9d1b-4049-4a7a-8be1-2044987b3a51','3e356327-d701-4b96-83f8-c4ced4cab86e',1767225600000,'update_progress','INFO','{"id": "51224e02-31ca-4f18-a4b2-bdee87db603e", "origin": {"cloud": "AWS", "region": "us-east", "pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51", "pipeline_name": "daily", "update_id": "3e356327-d701-4b96-83f8-c4ced4cab86e"}, "timestamp": "2026-01-01T00:00:00.000Z", "message": "Update 3e3563 is COMPLETED.", "level": "INFO", "event_type": "update_progress", "maturity_level": "STABLE", "details": {"update_progress": {"state": "COMPLETED"}}}');
CREATE TABLE jobs (
	job_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	settings JSON NOT NULL, 
	creator VARCHAR(255) NOT NULL, 
	created_at BIGINT NOT NULL, 
	modified_at BIGINT NOT NULL, 
	last_number INTEGER NOT NULL, 
	next_fire_at BIGINT, 
	failures INTEGER NOT NULL
);
INSERT INTO "jobs" VALUES(1,'nightly','{"name": "nightly", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "load", "pipeline_task": {"pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51"}}], "schedule": {"quartz_cron_expression": "0 0 2 * * ?", "timezone_id": "UTC"}, "format": "MULTI_TASK"}','me',1767225600000,1767225600000,0,1767232800000,0);
INSERT INTO "jobs" VALUES(2,'always','{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','me',1767225600000,1767225600000,8,NULL,0);
INSERT INTO "jobs" VALUES(3,'resting','{"name": "resting", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "load", "pipeline_task": {"pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51"}}], "continuous": {"pause_status": "PAUSED"}, "format": "MULTI_TASK"}','me',1767225600000,1767225600000,0,NULL,0);
INSERT INTO "jobs" VALUES(4,'manual','{"name": "manual", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "load", "pipeline_task": {"pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51"}}], "format": "MULTI_TASK"}','me',1767225600000,1767225600000,1,NULL,0);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('region','us-east');
INSERT INTO "meta" VALUES('workspace_id','709907412821632');
INSERT INTO "meta" VALUES('account_id','90bf856c-1d7f-555b-8755-b4711831ae35');
CREATE TABLE objects (
	object_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path VARCHAR(1024) NOT NULL, 
	parent VARCHAR(1024) NOT NULL, 
	object_type VARCHAR(16) NOT NULL, 
	language VARCHAR(16), 
	content BLOB, 
	size BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	modified_at BIGINT NOT NULL, 
	UNIQUE (path)
);
INSERT INTO "objects" VALUES(1,'/','','DIRECTORY',NULL,NULL,0,1767225600000,1767225600000);
INSERT INTO "objects" VALUES(2,'/Shared','/','DIRECTORY',NULL,NULL,0,1767225600000,1767225600000);
INSERT INTO "objects" VALUES(3,'/Users','/','DIRECTORY',NULL,NULL,0,1767225600000,1767225600000);
INSERT INTO "objects" VALUES(4,'/Repos','/','DIRECTORY',NULL,NULL,0,1767225600000,1767225600000);
INSERT INTO "objects" VALUES(5,'/Shared/nb','/Shared','NOTEBOOK','PYTHON',X'232044617461627269636B73206E6F7465626F6F6B20736F757263650A7072696E742831290A',38,1767225600000,1767225600000);
CREATE TABLE permissions (
	object_type VARCHAR(64) NOT NULL, 
	object_id VARCHAR(128) NOT NULL, 
	acl JSON NOT NULL, 
	PRIMARY KEY (object_type, object_id)
);
INSERT INTO "permissions" VALUES('pipelines','298c9d1b-4049-4a7a-8be1-2044987b3a51','[{"group_name": "users", "permission_level": "CAN_VIEW"}]');
CREATE TABLE pipelines (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	pipeline_id VARCHAR(36) NOT NULL, 
	name TEXT NOT NULL, 
	spec JSON NOT NULL, 
	creator VARCHAR(255) NOT NULL, 
	created_at BIGINT NOT NULL, 
	modified_at BIGINT NOT NULL, 
	revision INTEGER NOT NULL, 
	wanted BOOLEAN NOT NULL, 
	failures INTEGER NOT NULL, 
	retry_at BIGINT, 
	UNIQUE (pipeline_id)
);
INSERT INTO "pipelines" VALUES(1,'298c9d1b-4049-4a7a-8be1-2044987b3a51','daily','{"name": "daily", "libraries": [{"notebook": {"path": "/Shared/nb"}}], "target": "t"}','me',1767225600000,1767225600000,1,0,0,NULL);
INSERT INTO "pipelines" VALUES(2,'ae3950c8-e526-4865-9116-875ea91319bb','stream','{"name": "stream", "continuous": true, "libraries": [{"notebook": {"path": "/Shared/nb"}}], "target": "t"}','me',1767225600000,1767225600000,1,1,0,NULL);
CREATE TABLE runs (
	run_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	parent_id BIGINT, 
	job_id BIGINT NOT NULL, 
	number_in_job BIGINT NOT NULL, 
	run_type VARCHAR(16) NOT NULL, 
	name TEXT NOT NULL, 
	task_key VARCHAR(128), 
	attempt INTEGER NOT NULL, 
	settings JSON NOT NULL, 
	parameters JSON NOT NULL, 
	"trigger" VARCHAR(24) NOT NULL, 
	creator VARCHAR(255) NOT NULL, 
	life_cycle VARCHAR(24) NOT NULL, 
	result VARCHAR(48), 
	code VARCHAR(48), 
	message TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	started_at BIGINT, 
	ended_at BIGINT, 
	not_before BIGINT, 
	cancel_requested BOOLEAN NOT NULL, 
	update_id VARCHAR(36), 
	child_id BIGINT, 
	output JSON, 
	repair_id BIGINT, 
	repairs JSON NOT NULL, 
	idempotency VARCHAR(128), 
	CONSTRAINT uq_runs_idempotency UNIQUE (idempotency)
);
INSERT INTO "runs" VALUES(1,NULL,4,1,'JOB_RUN','manual',NULL,0,'{"name": "manual", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "load", "pipeline_task": {"pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51"}}], "format": "MULTI_TASK"}','{}','ONE_TIME','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]','4:tok');
INSERT INTO "runs" VALUES(2,NULL,2,1,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(3,1,4,1,'JOB_RUN','manual','load',0,'{"task_key": "load", "pipeline_task": {"pipeline_id": "298c9d1b-4049-4a7a-8be1-2044987b3a51"}}','{}','ONE_TIME','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,'3e356327-d701-4b96-83f8-c4ced4cab86e',NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(4,2,2,1,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
INSERT INTO "runs" VALUES(5,NULL,2,2,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(6,5,2,2,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
INSERT INTO "runs" VALUES(7,NULL,2,3,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(8,7,2,3,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
INSERT INTO "runs" VALUES(9,NULL,2,4,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(10,9,2,4,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
INSERT INTO "runs" VALUES(11,NULL,2,5,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(12,11,2,5,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
INSERT INTO "runs" VALUES(13,NULL,2,6,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(14,13,2,6,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
INSERT INTO "runs" VALUES(15,NULL,2,7,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(16,15,2,7,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
INSERT INTO "runs" VALUES(17,NULL,2,8,'JOB_RUN','always',NULL,0,'{"name": "always", "max_concurrent_runs": 1, "timeout_seconds": 0, "email_notifications": {}, "tasks": [{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}], "continuous": {"pause_status": "UNPAUSED"}, "format": "MULTI_TASK"}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "runs" VALUES(18,17,2,8,'JOB_RUN','always','c',0,'{"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}','{}','CONTINUOUS_RESTART','me','TERMINATED','SUCCESS','SUCCESS','',1767225600000,NULL,1767225600000,NULL,0,NULL,NULL,'{"outcome": "true"}',NULL,'[]',NULL);
CREATE TABLE secret_scopes (
	name VARCHAR(128) NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "secret_scopes" VALUES('s',1767225600000);
CREATE TABLE secrets (
	scope VARCHAR(128) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	value BLOB NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (scope, "key"), 
	FOREIGN KEY(scope) REFERENCES secret_scopes (name) ON DELETE CASCADE
);
INSERT INTO "secrets" VALUES('s','k',X'76',1767225600000);
CREATE TABLE tokens (
	token_id VARCHAR(32) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	user_name VARCHAR(255) NOT NULL, 
	comment TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	revoked_at BIGINT, 
	PRIMARY KEY (token_id)
);
INSERT INTO "tokens" VALUES('0cc93bac33d3','8cd2c23ef35d8a4f9a70af1f223a7f98aac7331333a840ab62630a117cfb274b','me','old',1767225600000,NULL,NULL);
CREATE TABLE updates (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	update_id VARCHAR(36) NOT NULL, 
	pipeline_id VARCHAR(36) NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	cause VARCHAR(32) NOT NULL, 
	request JSON NOT NULL, 
	spec JSON NOT NULL, 
	continuous BOOLEAN NOT NULL, 
	revision INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	stop_requested BOOLEAN NOT NULL, 
	error TEXT, 
	created_at BIGINT NOT NULL, 
	started_at BIGINT, 
	ended_at BIGINT, 
	active VARCHAR(36), 
	FOREIGN KEY(pipeline_id) REFERENCES pipelines (pipeline_id) ON DELETE CASCADE, 
	UNIQUE (active), 
	UNIQUE (update_id)
);
INSERT INTO "updates" VALUES(1,'d29bca3f-a61e-4b21-9162-d00a11573a5a','ae3950c8-e526-4865-9116-875ea91319bb','INITIALIZING','USER_ACTION','{}','{"id": "ae3950c8-e526-4865-9116-875ea91319bb", "name": "stream", "continuous": true, "libraries": [{"notebook": {"path": "/Shared/nb"}}], "target": "t", "storage": "dbfs:/pipelines/ae3950c8-e526-4865-9116-875ea91319bb"}',1,1,1,0,NULL,1767225600000,1767225600000,NULL,'ae3950c8-e526-4865-9116-875ea91319bb');
INSERT INTO "updates" VALUES(2,'3e356327-d701-4b96-83f8-c4ced4cab86e','298c9d1b-4049-4a7a-8be1-2044987b3a51','COMPLETED','JOB_TASK','{}','{"id": "298c9d1b-4049-4a7a-8be1-2044987b3a51", "name": "daily", "libraries": [{"notebook": {"path": "/Shared/nb"}}], "target": "t", "storage": "dbfs:/pipelines/298c9d1b-4049-4a7a-8be1-2044987b3a51"}',0,1,1,0,NULL,1767225600000,1767225600000,1767225600000,NULL);
CREATE INDEX ix_jobs_name ON jobs (name);
CREATE INDEX ix_jobs_next_fire_at ON jobs (next_fire_at);
CREATE INDEX ix_objects_parent ON objects (parent);
CREATE INDEX ix_pipelines_name ON pipelines (name);
CREATE INDEX ix_runs_job_id ON runs (job_id);
CREATE INDEX ix_runs_life_cycle ON runs (life_cycle);
CREATE INDEX ix_runs_parent_id ON runs (parent_id);
CREATE INDEX ix_events_pipeline ON events (pipeline_id, timestamp, number);
CREATE INDEX ix_events_update ON events (update_id, timestamp, number);
CREATE INDEX ix_updates_pipeline_id ON updates (pipeline_id);
CREATE INDEX ix_updates_state ON updates (state);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('objects',5);
INSERT INTO "sqlite_sequence" VALUES('pipelines',2);
INSERT INTO "sqlite_sequence" VALUES('events',10);
INSERT INTO "sqlite_sequence" VALUES('jobs',4);
INSERT INTO "sqlite_sequence" VALUES('runs',18);
INSERT INTO "sqlite_sequence" VALUES('updates',2);
COMMIT;
