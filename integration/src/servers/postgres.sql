CREATE ROLE rds_iam NOLOGIN;
CREATE ROLE app_owner NOLOGIN;
CREATE ROLE iam_app LOGIN CREATEDB IN ROLE rds_iam, app_owner;
CREATE ROLE iam_other LOGIN CREATEDB IN ROLE rds_iam, app_owner;
CREATE ROLE pw_app LOGIN CREATEDB IN ROLE app_owner PASSWORD 'pw_app_password';
CREATE ROLE pw_replica LOGIN REPLICATION PASSWORD 'pw_replica_password';
SET password_encryption = 'md5';
CREATE ROLE md5_app LOGIN CREATEDB IN ROLE app_owner PASSWORD 'md5_app_password';
CREATE DATABASE app OWNER app_owner;
