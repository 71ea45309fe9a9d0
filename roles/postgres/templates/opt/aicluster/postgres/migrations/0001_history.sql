-- Who asked what, and what was answered. Only `api.ingest` writes here; what a caller sees is decided by row-level security.
-- The gateway sends one entry for each request (roles/kong/files/capture.lua); an entry has no keys and no images.
CREATE SCHEMA history;
CREATE SCHEMA IF NOT EXISTS api;

-- One row: retention, and the day when it was last applied.
CREATE TABLE history.settings (
  keep_days int NOT NULL DEFAULT 0 CHECK (keep_days >= 0),
  expired_on date NOT NULL DEFAULT current_date
);
INSERT INTO history.settings DEFAULT VALUES;

CREATE TABLE history.users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  consumer text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- Every request whose entry arrived, once. It says nothing of who asked: it also counts what is not stored.
CREATE TABLE history.requests (
  request_id text PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON history.requests USING brin (created_at);

CREATE TABLE history.conversations (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES history.users ON DELETE CASCADE,
  title text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX ON history.conversations (user_id, updated_at DESC);

CREATE TABLE history.messages (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  conversation_id uuid NOT NULL REFERENCES history.conversations ON DELETE CASCADE,
  request_id text NOT NULL,
  seq smallint NOT NULL,
  role text NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
  content text NOT NULL,
  -- Sizes of the images that were sent with it, as text in JSON. They are not kept.
  image_bytes bigint[] NOT NULL DEFAULT '{}',
  model text,
  prompt_tokens bigint,
  completion_tokens bigint,
  latency_ms bigint,
  -- Whether all of it is here. A client hung up, a node broke, or it was longer than the gateway keeps.
  whole boolean NOT NULL DEFAULT true,
  -- Digest of the conversation up to here: a client that sends it again continues it.
  chain text,
  created_at timestamptz NOT NULL,
  UNIQUE (request_id, seq)
);
CREATE INDEX ON history.messages (conversation_id, id);
CREATE INDEX ON history.messages (chain) WHERE chain IS NOT NULL;

CREATE TABLE history.code_snippets (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  message_id bigint NOT NULL REFERENCES history.messages ON DELETE CASCADE,
  language text NOT NULL,
  body text NOT NULL,
  sha256 text NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX ON history.code_snippets (message_id);

-- A job of ComfyUI. Its images are objects of the bucket `images` below the node's name: roles/comfyui_outputs.
CREATE TABLE history.generated_images (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES history.users ON DELETE CASCADE,
  request_id text NOT NULL UNIQUE,
  job text NOT NULL,
  node text,
  prompt text,
  model text,
  width int,
  height int,
  seed numeric,
  workflow jsonb,
  -- The names ComfyUI gave; empty until the client has asked for the result.
  files text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL,
  UNIQUE (user_id, job)
);
CREATE INDEX ON history.generated_images (user_id, created_at DESC);

CREATE TABLE history.ingest_errors (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  consumer text,
  reason text NOT NULL,
  entry json NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- Text arrives as base64, so that whatever a client sends is good JSON. Bytes that are no UTF-8 are kept as Latin-1.
CREATE FUNCTION history.text_of(encoded text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN convert_from(decode(encoded, 'base64'), 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
  RETURN convert_from(decode(encoded, 'base64'), 'LATIN1');
END $$;

CREATE FUNCTION history.store_chat(owner uuid, entry json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  said json := entry -> 'exchange';
  question text := coalesce(history.text_of(said ->> 'question'), '');
  answer text := coalesce(history.text_of(said ->> 'answer'), '');
  at timestamptz := to_timestamp((entry ->> 'started_at')::float8 / 1000);
  request text := entry #>> '{request,id}';
  conversation uuid := (said ->> 'conversation')::uuid;
  message bigint;
BEGIN
  IF conversation IS NULL THEN
    SELECT c.id INTO conversation FROM history.messages m JOIN history.conversations c ON c.id = m.conversation_id
      WHERE m.chain = nullif(said ->> 'before', '') AND c.user_id = owner ORDER BY m.id DESC LIMIT 1;
  END IF;
  INSERT INTO history.conversations AS mine (id, user_id, title, created_at, updated_at)
    VALUES (coalesce(conversation, gen_random_uuid()), owner, left(btrim(question, E' \t\r\n'), 80), at, at)
    ON CONFLICT (id) DO UPDATE SET updated_at = greatest(mine.updated_at, at) WHERE mine.user_id = owner
    RETURNING id INTO conversation;
  IF conversation IS NULL THEN
    RAISE 'conversation % is another user''s', said ->> 'conversation';
  END IF;
  INSERT INTO history.messages (conversation_id, request_id, seq, role, content, image_bytes, whole, created_at)
    VALUES (conversation, request, 1, said ->> 'role', question,
      coalesce(string_to_array(nullif(said ->> 'images', ''), ',')::bigint[], '{}'), (said ->> 'question_whole')::boolean, at);
  INSERT INTO history.messages (conversation_id, request_id, seq, role, content, model, prompt_tokens, completion_tokens,
      latency_ms, whole, chain, created_at)
    VALUES (conversation, request, 2, 'assistant', answer, said ->> 'model', (said ->> 'prompt_tokens')::float8::bigint,
      (said ->> 'completion_tokens')::float8::bigint, (entry #>> '{latencies,request}')::float8::bigint, (said ->> 'whole')::boolean,
      said ->> 'chain', at)
    RETURNING id INTO message;
  -- Both quantifiers are lazy: PostgreSQL takes the greed of a whole pattern from its first one.
  INSERT INTO history.code_snippets (message_id, language, body, sha256, created_at)
    SELECT message, block[1], block[2], encode(sha256(convert_to(block[2], 'UTF8')), 'hex'), at
    FROM regexp_matches(answer, '```([A-Za-z0-9_+.#-]*?)[ \t\r]*?\n(.*?)```', 'g') AS block;
END $$;

CREATE FUNCTION history.store_image(owner uuid, entry json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  said json := entry -> 'exchange';
  work jsonb := history.text_of(said ->> 'workflow')::jsonb;
BEGIN
  INSERT INTO history.generated_images (user_id, request_id, job, node, prompt, model, width, height, seed, workflow, created_at)
    SELECT owner, entry #>> '{request,id}', said ->> 'job', said ->> 'node',
      string_agg(inputs ->> 'text', E'\n' ORDER BY number) FILTER (WHERE jsonb_typeof(inputs -> 'text') = 'string'),
      max(inputs ->> 'ckpt_name'),
      max((inputs ->> 'width')::int) FILTER (WHERE jsonb_typeof(inputs -> 'width') = 'number'),
      max((inputs ->> 'height')::int) FILTER (WHERE jsonb_typeof(inputs -> 'height') = 'number'),
      max((inputs ->> 'seed')::numeric) FILTER (WHERE jsonb_typeof(inputs -> 'seed') = 'number'),
      work -> 'prompt', to_timestamp((entry ->> 'started_at')::float8 / 1000)
    FROM jsonb_path_query(work, '$.prompt.*.inputs') WITH ORDINALITY AS node (inputs, number);
END $$;

-- Takes what http-log sends, one entry or many. What cannot be stored is kept with its reason: an error would be sent again
-- for an hour, and all others would wait behind it. Only what may succeed later is an error.
CREATE FUNCTION api.ingest(json) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  entry json;
  who text;
  owner uuid;
BEGIN
  FOR entry IN SELECT * FROM json_array_elements(
    CASE json_typeof($1) WHEN 'array' THEN $1 ELSE json_build_array($1) END)
  LOOP
    who := entry #>> '{consumer,username}';
    CONTINUE WHEN who IS NULL;
    BEGIN
      INSERT INTO history.requests (request_id) VALUES (entry #>> '{request,id}') ON CONFLICT DO NOTHING;
      CONTINUE WHEN NOT FOUND OR entry -> 'exchange' IS NULL;
      INSERT INTO history.users (consumer) VALUES (who) ON CONFLICT DO NOTHING;
      SELECT id INTO STRICT owner FROM history.users WHERE consumer = who;
      CASE entry #>> '{exchange,kind}'
        WHEN 'chat' THEN PERFORM history.store_chat(owner, entry);
        WHEN 'image' THEN PERFORM history.store_image(owner, entry);
        WHEN 'files' THEN UPDATE history.generated_images
          SET files = string_to_array(history.text_of(entry #>> '{exchange,files}'), E'\n')
          WHERE job = entry #>> '{exchange,job}' AND user_id = owner;
      END CASE;
    EXCEPTION WHEN OTHERS THEN
      -- A lost lock, resources, a stopping server, the system below.
      IF SQLSTATE ~ '^(40|53|55|57|58|XX)' THEN RAISE; END IF;
      INSERT INTO history.ingest_errors (consumer, reason, entry) VALUES (who, SQLERRM, entry);
      INSERT INTO history.requests (request_id) SELECT entry #>> '{request,id}' WHERE entry #>> '{request,id}' IS NOT NULL
        ON CONFLICT DO NOTHING;
    END;
  END LOOP;
  UPDATE history.settings SET expired_on = current_date WHERE expired_on < current_date;
  IF FOUND THEN PERFORM history.expire(); END IF;
END $$;

-- Deletes what is older than the days that are kept; 0 keeps everything. A conversation is as old as its last message.
CREATE FUNCTION history.expire() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM history.conversations USING history.settings WHERE keep_days > 0 AND updated_at < now() - make_interval(days => keep_days);
  DELETE FROM history.generated_images USING history.settings WHERE keep_days > 0 AND created_at < now() - make_interval(days => keep_days);
  DELETE FROM history.ingest_errors USING history.settings WHERE keep_days > 0 AND created_at < now() - make_interval(days => keep_days);
  DELETE FROM history.requests WHERE created_at < now() - interval '7 days';
$$;

-- Erases a user: everything that was stored of theirs. Returns how many conversations and jobs that were.
CREATE FUNCTION history.forget(name text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found bigint;
BEGIN
  SELECT (SELECT count(*) FROM history.conversations WHERE user_id = u.id)
       + (SELECT count(*) FROM history.generated_images WHERE user_id = u.id)
    INTO found FROM history.users u WHERE consumer = name;
  DELETE FROM history.users WHERE consumer = name;
  DELETE FROM history.ingest_errors WHERE consumer = name;
  RETURN coalesce(found, 0);
END $$;

-- Who asks. Only the gateway may be the role `gateway`, and it sets this header itself, over whatever a client sent.
CREATE FUNCTION history.caller() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT id FROM history.users WHERE consumer = nullif(current_setting('request.headers', true), '')::json ->> 'x-consumer-username';
$$;

ALTER TABLE history.conversations ENABLE ROW LEVEL SECURITY;
ALTER TABLE history.messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE history.code_snippets ENABLE ROW LEVEL SECURITY;
ALTER TABLE history.generated_images ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON history.conversations TO gateway USING (user_id = (SELECT history.caller()));
CREATE POLICY own ON history.generated_images TO gateway USING (user_id = (SELECT history.caller()));
-- Seen through the rows they belong to, which are the caller's.
CREATE POLICY own ON history.messages TO gateway USING (conversation_id IN (SELECT id FROM history.conversations));
CREATE POLICY own ON history.code_snippets TO gateway USING (message_id IN (SELECT id FROM history.messages));

-- These run as the caller's role: row-level security, and no condition of their own, says whose rows they see.
CREATE FUNCTION api.history() RETURNS json LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT json_build_object(
    'conversations', (SELECT coalesce(json_agg(row), '[]') FROM (
      SELECT id, title, created_at, updated_at, (SELECT count(*) FROM history.messages WHERE conversation_id = c.id) AS messages
      FROM history.conversations c ORDER BY updated_at DESC, id LIMIT 500) AS row),
    'images', (SELECT coalesce(json_agg(row), '[]') FROM (
      SELECT id, job, node, prompt, model, width, height, seed, files, created_at
      FROM history.generated_images ORDER BY created_at DESC, id LIMIT 500) AS row));
$$;

CREATE FUNCTION api.history_missing(id uuid) RETURNS json LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT json_build_object('error', format('There is no conversation %s of yours; GET /api/v1/history lists them.', id))
  FROM set_config('response.status', '404', true);
$$;

CREATE FUNCTION api.history_one(id uuid) RETURNS json LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(
    (SELECT to_json(found) FROM (
      SELECT c.id, c.title, c.created_at, c.updated_at, (SELECT json_agg(row ORDER BY number) FROM (
        SELECT m.id AS number, role, content, image_bytes, model, prompt_tokens, completion_tokens, latency_ms, whole, m.created_at,
          (SELECT coalesce(json_agg(json_build_object('language', language, 'body', body) ORDER BY s.id), '[]')
           FROM history.code_snippets s WHERE message_id = m.id) AS code
        FROM history.messages m WHERE conversation_id = c.id) AS row) AS messages
      FROM history.conversations c WHERE c.id = history_one.id) AS found),
    (SELECT to_json(found) FROM (
      SELECT i.id, job, node, prompt, model, width, height, seed, files, workflow, created_at
      FROM history.generated_images i WHERE i.id = history_one.id) AS found),
    api.history_missing(id));
$$;

CREATE FUNCTION api.history_delete(id uuid) RETURNS json LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH conversation AS (DELETE FROM history.conversations c WHERE c.id = history_delete.id RETURNING c.id),
       image AS (DELETE FROM history.generated_images i WHERE i.id = history_delete.id RETURNING i.id),
       gone AS (TABLE conversation UNION ALL TABLE image)
  SELECT coalesce((SELECT json_build_object('deleted', gone.id) FROM gone), api.history_missing(id));
$$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA api, history FROM PUBLIC;
GRANT USAGE ON SCHEMA api, history TO gateway;
GRANT EXECUTE ON FUNCTION api.ingest(json), api.history(), api.history_one(uuid), api.history_delete(uuid),
  api.history_missing(uuid), history.caller() TO gateway;
GRANT SELECT, DELETE ON history.conversations, history.generated_images TO gateway;
GRANT SELECT ON history.messages, history.code_snippets TO gateway;
