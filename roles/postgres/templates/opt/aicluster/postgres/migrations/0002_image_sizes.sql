-- As in 0001, but a job is also stored whose graph has a width that is no whole number, as of a part of an image.
CREATE OR REPLACE FUNCTION history.store_image(owner uuid, entry json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  said json := entry -> 'exchange';
  work jsonb := history.text_of(said ->> 'workflow')::jsonb;
BEGIN
  INSERT INTO history.generated_images (user_id, request_id, job, node, prompt, model, width, height, seed, workflow, created_at)
    SELECT owner, entry #>> '{request,id}', said ->> 'job', said ->> 'node',
      string_agg(inputs ->> 'text', E'\n' ORDER BY number) FILTER (WHERE jsonb_typeof(inputs -> 'text') = 'string'),
      max(inputs ->> 'ckpt_name'),
      max((inputs ->> 'width')::numeric::int) FILTER (WHERE inputs ->> 'width' ~ '^\d{1,9}(\.0+)?$'),
      max((inputs ->> 'height')::numeric::int) FILTER (WHERE inputs ->> 'height' ~ '^\d{1,9}(\.0+)?$'),
      max((inputs ->> 'seed')::numeric) FILTER (WHERE jsonb_typeof(inputs -> 'seed') = 'number'),
      work -> 'prompt', to_timestamp((entry ->> 'started_at')::float8 / 1000)
    FROM jsonb_path_query(work, '$.prompt.*.inputs') WITH ORDINALITY AS node (inputs, number);
END $$;
