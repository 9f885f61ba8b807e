-- FROM
CREATE TABLE far (id int PRIMARY KEY, n int);
CREATE TABLE farther (id int PRIMARY KEY, n int);
CREATE TABLE near (id int PRIMARY KEY, far_id int REFERENCES far, a int);
CREATE FUNCTION most() RETURNS int LANGUAGE sql STABLE AS 'SELECT max(n) FROM far';
CREATE FUNCTION asks() RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN RETURN (SELECT most()); END$$;
CREATE FUNCTION composes() RETURNS bigint LANGUAGE plpgsql STABLE AS
    $$DECLARE n bigint; BEGIN EXECUTE 'SELECT count(*) FROM ' || 'far' || 'ther' INTO n; RETURN n; END$$;
-- TO
CREATE TABLE far (id int PRIMARY KEY, n int);
CREATE TABLE farther (id int PRIMARY KEY, n int);
CREATE FUNCTION most() RETURNS int LANGUAGE sql STABLE AS 'SELECT min(n) FROM far';
CREATE FUNCTION asks() RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN RETURN (SELECT most()); END$$;
CREATE FUNCTION composes() RETURNS bigint LANGUAGE plpgsql STABLE AS
    $$DECLARE n bigint; BEGIN EXECUTE 'SELECT count(*) FROM ' || 'far' || 'ther' INTO n; RETURN n; END$$;
CREATE TABLE near (id int PRIMARY KEY, far_id int REFERENCES far, a bigint, b int DEFAULT asks(), c bigint DEFAULT composes());
