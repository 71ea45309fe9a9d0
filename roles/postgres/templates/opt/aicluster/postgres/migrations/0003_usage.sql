-- How many answers and tokens a user had of a model. Sums of their own: those of messages would fall when old ones expire.
CREATE TABLE history.usage (
  user_id uuid NOT NULL REFERENCES history.users ON DELETE CASCADE,
  -- Empty where an answer named none.
  model text NOT NULL,
  prompt_tokens bigint NOT NULL,
  completion_tokens bigint NOT NULL,
  answers bigint NOT NULL,
  PRIMARY KEY (user_id, model)
);

CREATE FUNCTION history.count_usage() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO history.usage AS sums (user_id, model, prompt_tokens, completion_tokens, answers)
    SELECT user_id, coalesce(NEW.model, ''), coalesce(NEW.prompt_tokens, 0), coalesce(NEW.completion_tokens, 0), 1
    FROM history.conversations WHERE id = NEW.conversation_id
    ON CONFLICT (user_id, model) DO UPDATE SET prompt_tokens = sums.prompt_tokens + EXCLUDED.prompt_tokens,
      completion_tokens = sums.completion_tokens + EXCLUDED.completion_tokens, answers = sums.answers + 1;
  RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION history.count_usage() FROM PUBLIC;

-- The second message of a request is the answer; the first one may have the role `assistant`, too. Writers wait from here on,
-- so that nothing is missing between these sums and the first that is added.
CREATE TRIGGER count_usage AFTER INSERT ON history.messages
  FOR EACH ROW WHEN (NEW.seq = 2) EXECUTE FUNCTION history.count_usage();

INSERT INTO history.usage (user_id, model, prompt_tokens, completion_tokens, answers)
  SELECT user_id, coalesce(model, ''), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), count(*)
  FROM history.messages JOIN history.conversations c ON c.id = conversation_id
  WHERE seq = 2 GROUP BY 1, 2;
